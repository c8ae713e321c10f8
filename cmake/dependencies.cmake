# Libraries from the distribution, each as an imported target; a missing one ends in one line that says what to install.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C CXX)

function(magpie_find target package debian)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${package})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "${package} not found: apt-get install ${debian}")
  endif()
  add_library(magpie_${target} ALIAS PkgConfig::${target})
endfunction()

magpie_find(lmdb lmdb liblmdb-dev)
magpie_find(jansson jansson libjansson-dev)
magpie_find(utf8proc libutf8proc libutf8proc-dev)
magpie_find(xxhash libxxhash libxxhash-dev)
magpie_find(turbojpeg libturbojpeg libturbojpeg0-dev)
magpie_find(spng spng libspng-dev)
magpie_find(sndfile sndfile libsndfile1-dev)
magpie_find(ogg ogg libogg-dev)
magpie_find(vorbis vorbis libvorbis-dev)
magpie_find(opus opus libopus-dev)
magpie_find(mpg123 libmpg123 libmpg123-dev)
magpie_find(soxr soxr libsoxr-dev)
magpie_find(openblas openblas libopenblas-openmp-dev)
magpie_find(microhttpd libmicrohttpd libmicrohttpd-dev)

find_path(DNNL_INCLUDE_DIR dnnl.h)
find_library(DNNL_LIBRARY dnnl)
if(NOT DNNL_INCLUDE_DIR OR NOT DNNL_LIBRARY)
  message(FATAL_ERROR "oneDNN not found: apt-get install libdnnl-dev")
endif()
add_library(magpie_dnnl INTERFACE IMPORTED)
target_include_directories(magpie_dnnl INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(magpie_dnnl INTERFACE ${DNNL_LIBRARY})

include(${CMAKE_CURRENT_LIST_DIR}/faiss.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/kissfft.cmake)

set(MAGPIE_LIBRARIES magpie_lmdb magpie_jansson magpie_utf8proc magpie_xxhash magpie_dnnl magpie_turbojpeg
                     magpie_spng magpie_sndfile magpie_ogg magpie_vorbis magpie_opus magpie_mpg123 magpie_soxr
                     magpie_faiss OpenMP::OpenMP_C Threads::Threads m)
