# kissfft's sources in KISSFFT_SOURCE_DIR, which are compiled for SIMD vectors here: what scripts/fetch-kissfft takes out
# of the distribution's source package, cached outside the build folder.
set(MAGPIE_KISSFFT_DIR "" CACHE PATH "A folder with kissfft's sources (kiss_fftr.c)")

set(KISSFFT_SOURCE_DIR ${MAGPIE_KISSFFT_DIR})
if(NOT KISSFFT_SOURCE_DIR)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/fetch-kissfft OUTPUT_VARIABLE KISSFFT_SOURCE_DIR
                  OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "kissfft was not fetched: see the lines above")
  endif()
endif()
if(NOT EXISTS ${KISSFFT_SOURCE_DIR}/kiss_fftr.c)
  message(FATAL_ERROR "kiss_fftr.c is not in '${KISSFFT_SOURCE_DIR}'")
endif()
message(STATUS "kissfft: ${KISSFFT_SOURCE_DIR}")
