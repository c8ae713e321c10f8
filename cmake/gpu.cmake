# Kernels for GPUs (encoders/kernels/) are one text for OpenCL and CUDA. Their source goes into the program, for OpenCL to
# compile where it runs; OpenCL's headers are needed to build, its library only to run (device/opencl.c opens it).
find_path(OPENCL_INCLUDE_DIR CL/cl.h)
if(NOT OPENCL_INCLUDE_DIR)
  message(FATAL_ERROR "OpenCL's headers not found: apt-get install opencl-c-headers")
endif()

function(magpie_embed_kernels)
  file(GLOB kernels CONFIGURE_DEPENDS kernels/*.h kernels/*.cl)
  add_custom_command(OUTPUT gpu_sources.c
                     COMMAND ${CMAKE_COMMAND} "-DFILES=${kernels}" -DDECLARED=gpu.h
                             "-DARRAY=const gpu_source gpu_sources[]"
                             -DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/gpu_sources.c -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
                     DEPENDS ${kernels} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_include_directories(magpie_encoders SYSTEM PRIVATE ${OPENCL_INCLUDE_DIR})
endfunction()
