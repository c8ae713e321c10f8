# FAISS with its C API: the system's where it has one, else what scripts/build-faiss makes of the distribution's source
# package, cached outside the build folder. Debian's own libfaiss.a lacks the C API and SIMD beyond SSE2.
set(MAGPIE_FAISS_DIR "" CACHE PATH "A FAISS installation with the C API (include/, lib/)")

set(hints ${MAGPIE_FAISS_DIR})
find_library(FAISS_C_LIBRARY faiss_c HINTS ${hints} PATH_SUFFIXES lib)
if(NOT FAISS_C_LIBRARY)
  message(STATUS "FAISS's C API is not installed: building it from the distribution's source package")
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/build-faiss OUTPUT_VARIABLE faiss_dir
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
message(STATUS "FAISS: ${FAISS_C_LIBRARY}")

add_library(magpie_faiss INTERFACE IMPORTED)
target_include_directories(magpie_faiss SYSTEM INTERFACE ${FAISS_INCLUDE_DIR})
target_link_libraries(magpie_faiss INTERFACE ${FAISS_C_LIBRARY} ${FAISS_LIBRARY} magpie_openblas
                      OpenMP::OpenMP_CXX stdc++)
