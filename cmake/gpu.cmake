# Kernels for GPUs (encoders/kernels/) are one text for OpenCL and CUDA. Their source goes into the program, for OpenCL to
# compile where it runs; OpenCL's headers are needed to build, its library only to run (device/opencl.c opens it). Where
# there is an nvcc, what it makes of them goes in as well: machine code for sm_80 and sm_90, and PTX for what comes later.
find_path(OPENCL_INCLUDE_DIR CL/cl.h)
if(NOT OPENCL_INCLUDE_DIR)
  message(FATAL_ERROR "OpenCL's headers not found: apt-get install opencl-c-headers")
endif()

option(MAGPIE_CUDA "NVIDIA's GPUs, where there is an nvcc" ON)
set(MAGPIE_HAS_CUDA FALSE)
if(MAGPIE_CUDA)
  find_program(MAGPIE_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(MAGPIE_NVCC)
    get_filename_component(nvcc ${MAGPIE_NVCC} REALPATH)
    get_filename_component(nvcc ${nvcc} DIRECTORY)
    find_path(MAGPIE_CUDA_INCLUDE_DIR cublasLt.h HINTS ${nvcc}/../include)
  endif()
  if(MAGPIE_NVCC AND MAGPIE_CUDA_INCLUDE_DIR AND EXISTS ${MAGPIE_CUDA_INCLUDE_DIR}/cuda.h)
    set(MAGPIE_HAS_CUDA TRUE)
    message(STATUS "CUDA: by ${MAGPIE_NVCC}")
  else()
    message(STATUS "CUDA: none, since nvcc, cuda.h and cublasLt.h were not found; --device cuda will say so")
  endif()
else()
  message(STATUS "CUDA: none, MAGPIE_CUDA is off; --device cuda will say so")
endif()

# One of the files (NAME.cl; NAME.cu is for Hopper alone) for one STREAM_BITS and HEAD, as a fatbin; adds it to `images`. Warnings are errors, and so is a
# kernel whose registers do not suffice, or that indexes them.
function(magpie_compile_kernels file bits head)
  get_filename_component(name ${file} NAME_WE)
  set(image ${CMAKE_CURRENT_BINARY_DIR}/${name}-${bits}-${head}.fatbin)
  set(folder ${CMAKE_CURRENT_SOURCE_DIR}/kernels)
  set(devices -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90])
  if(file MATCHES "\\.cu$")
    set(devices -gencode arch=compute_90a,code=sm_90a)
  endif()
  add_custom_command(OUTPUT ${image}
                     COMMAND ${MAGPIE_NVCC} -x cu -include ${folder}/dialect.h -include ${folder}/product.h
                             -DSTREAM_BITS=${bits} -DHEAD=${head} -fatbin -Xfatbin -compress-all -Werror all-warnings
                             -Xptxas --warn-on-spills,--warn-on-local-memory-usage,--warning-as-error
                             ${devices} ${file} -o ${image}
                     DEPENDS ${file} ${folder}/dialect.h ${folder}/product.h VERBATIM)
  set(images ${images} ${image} PARENT_SCOPE)
endfunction()

function(magpie_embed_files array output)
  add_custom_command(OUTPUT ${output}
                     COMMAND ${CMAKE_COMMAND} "-DFILES=${ARGN}" -DDECLARED=gpu.h "-DARRAY=const gpu_source ${array}[]"
                             -DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/${output} -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
                     DEPENDS ${ARGN} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(magpie_encoders PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${output})
endfunction()

function(magpie_embed_kernels)
  file(GLOB kernels CONFIGURE_DEPENDS kernels/*.h kernels/*.cl)
  magpie_embed_files(gpu_sources gpu_sources.c ${kernels})
  target_include_directories(magpie_encoders SYSTEM PRIVATE ${OPENCL_INCLUDE_DIR})
  if(NOT MAGPIE_HAS_CUDA)
    return()
  endif()
  set(images "")
  list(FILTER kernels INCLUDE REGEX \\.cl$)
  foreach(file IN LISTS kernels)
    get_filename_component(name ${file} NAME_WE)
    set(heads 0)
    if(name STREQUAL attention)
      set(heads 32 64)
    endif()
    foreach(bits 32 16 17)
      foreach(head IN LISTS heads)
        magpie_compile_kernels(${file} ${bits} ${head})
      endforeach()
    endforeach()
  endforeach()
  file(GLOB kernels CONFIGURE_DEPENDS kernels/*.cu)
  foreach(file IN LISTS kernels)
    foreach(bits 16 17)
      magpie_compile_kernels(${file} ${bits} 0)
    endforeach()
  endforeach()
  magpie_embed_files(gpu_images gpu_images.c ${images})
  target_include_directories(magpie_encoders SYSTEM PRIVATE ${MAGPIE_CUDA_INCLUDE_DIR})
  target_compile_definitions(magpie_encoders PUBLIC MAGPIE_CUDA)
endfunction()
