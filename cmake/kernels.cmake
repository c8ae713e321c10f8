# SIMD kernels are one text compiled for each width; encoders/simd.c picks at run time. Fused multiply-add is wanted there,
# and ISO C mode turns it off.
set(MAGPIE_SIMD_LEVELS base)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND MAGPIE_SIMD_LEVELS v3 v4 v4_bf16)
endif()

# A folder's kernels for one of the levels, out of these sources: the target magpie_FOLDER_LEVEL, one of MAGPIE_KERNELS.
function(magpie_add_kernels folder level)
  set(name magpie_${folder}_${level})
  add_library(${name} OBJECT ${ARGN})
  target_include_directories(${name} PRIVATE . ${CMAKE_SOURCE_DIR}/core ${CMAKE_SOURCE_DIR}/encoders)
  target_link_libraries(${name} PRIVATE magpie_flags)
  target_compile_options(${name} PRIVATE -O3 -ffp-contract=fast)
  if(level STREQUAL v4_bf16)
    target_compile_options(${name} PRIVATE -march=x86-64-v4 -mavx512bf16)
  elseif(NOT level STREQUAL base)
    target_compile_options(${name} PRIVATE -march=x86-64-${level})
    target_compile_definitions(magpie_${folder} PRIVATE MAGPIE_SIMD_X86)
  endif()
  set_property(GLOBAL APPEND PROPERTY MAGPIE_KERNELS ${name})
endfunction()
