# FAISS with its C API: the system's where it has one, else what scripts/build-faiss makes of the distribution's source
# package, cached outside the build folder. Debian's own libfaiss.a lacks the C API and SIMD beyond SSE2.
set(MAGPIE_FAISS_DIR "" CACHE PATH "A FAISS installation with the C API (include/, lib/)")

# Exact searches by FAISS on NVIDIA's GPUs (index/faiss_gpu.h). Unlike encoders on CUDA, this links cuBLAS: such a program
# does not start without it.
option(MAGPIE_FAISS_GPU "FAISS with its indexes for GPUs; wants the CUDA toolkit" OFF)
set(faiss_cuda "")
if(MAGPIE_FAISS_GPU)
  find_package(CUDAToolkit REQUIRED)
  set(faiss_cuda CUDA::cudart_static CUDA::cublas)
endif()

set(hints ${MAGPIE_FAISS_DIR})
if(NOT MAGPIE_FAISS_GPU OR MAGPIE_FAISS_DIR) # the system's has none
  find_library(FAISS_C_LIBRARY faiss_c HINTS ${hints} PATH_SUFFIXES lib)
endif()
if(NOT FAISS_C_LIBRARY)
  message(STATUS "FAISS's C API is not installed: building it from the distribution's source package")
  set(flags "")
  if(MAGPIE_FAISS_GPU)
    set(flags --gpu ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/build-faiss ${flags} OUTPUT_VARIABLE faiss_dir
                  OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "FAISS was not built: see the lines above")
  endif()
  set(hints ${faiss_dir})
  find_library(FAISS_C_LIBRARY faiss_c REQUIRED NO_DEFAULT_PATH HINTS ${hints} PATH_SUFFIXES lib)
endif()
get_filename_component(faiss_lib_dir ${FAISS_C_LIBRARY} DIRECTORY)
get_filename_component(faiss_prefix ${faiss_lib_dir} DIRECTORY)
find_library(FAISS_LIBRARY faiss REQUIRED NO_DEFAULT_PATH HINTS ${faiss_lib_dir})
find_path(FAISS_INCLUDE_DIR faiss/c_api/Index_c.h REQUIRED NO_DEFAULT_PATH HINTS ${faiss_prefix}/include /usr/include)
if(MAGPIE_FAISS_GPU AND NOT EXISTS ${FAISS_INCLUDE_DIR}/faiss/c_api/gpu/GpuAutoTune_c.h)
  message(FATAL_ERROR "${FAISS_C_LIBRARY} has no GPUs: another MAGPIE_FAISS_DIR, or an empty build folder, is wanted")
endif()
message(STATUS "FAISS: ${FAISS_C_LIBRARY}")
set(MAGPIE_FAISS_OPTIONS -O3) # of what takes part in its inner loops, and can count on what it does
if(faiss_prefix MATCHES "-march-(x86-64[-v0-9]*)")
  list(APPEND MAGPIE_FAISS_OPTIONS -march=${CMAKE_MATCH_1})
endif()

add_library(magpie_faiss INTERFACE IMPORTED)
target_include_directories(magpie_faiss SYSTEM INTERFACE ${FAISS_INCLUDE_DIR})
target_link_libraries(magpie_faiss INTERFACE ${FAISS_C_LIBRARY} ${FAISS_LIBRARY} ${faiss_cuda} magpie_openblas
                      OpenMP::OpenMP_CXX stdc++)
