# What `cmake --install` puts down: the program, libmagpie.so with FAISS inside it, the headers as magpie/NAME.h, a
# pkg-config file and a CMake package.
add_library(magpie_shared SHARED ${MAGPIE_OBJECTS})
target_link_libraries(magpie_shared PRIVATE ${MAGPIE_LIBRARIES})
set_target_properties(magpie_shared PROPERTIES OUTPUT_NAME magpie EXPORT_NAME magpie VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINKER_LANGUAGE CXX)
# The public functions and nothing else, ours or FAISS's, is to be seen from outside.
set(exports ${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports.map)
target_link_options(magpie_shared PRIVATE -Wl,--version-script=${exports})
set_target_properties(magpie_shared PROPERTIES LINK_DEPENDS ${exports})
target_include_directories(magpie_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

install(TARGETS magpie RUNTIME)
install(TARGETS magpie_shared EXPORT magpie LIBRARY)
install(FILES core/core.h encoders/encoders.h index/index.h ranker/ranker.h ingest/ingest.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/magpie)
# kissfft is inside of both, and its licence wants to be where they are.
install(FILES ${KISSFFT_SOURCE_DIR}/COPYING DESTINATION ${CMAKE_INSTALL_DOCDIR}/kissfft)
install(DIRECTORY ${KISSFFT_SOURCE_DIR}/LICENSES DESTINATION ${CMAKE_INSTALL_DOCDIR}/kissfft)

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/magpie)
install(EXPORT magpie FILE magpie-config.cmake NAMESPACE magpie:: DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/magpie-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/magpie-config-version.cmake DESTINATION ${package_dir})

# Found from where the file lies, so that `cmake --install --prefix` may put it anywhere.
file(RELATIVE_PATH MAGPIE_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/magpie.pc.in ${CMAKE_CURRENT_BINARY_DIR}/magpie.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/magpie.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
