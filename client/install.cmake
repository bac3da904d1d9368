# What `cmake --install` leaves for users of the SDK: the public headers, static libraries, and what find_package(millrace) and
# pkg-config need. Only millrace::client is meant to be linked; the other libraries are what it is made of.
include(CMakePackageConfigHelpers)

set(millrace_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/millrace)

set_target_properties(millrace_client PROPERTIES EXPORT_NAME client)
install(TARGETS millrace_client millrace_proto millrace_transport millrace_wire millrace_check EXPORT millraceTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT millraceTargets NAMESPACE millrace:: DESTINATION ${millrace_cmake_dir})
install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/include/millrace DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/millraceConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/millraceConfig.cmake INSTALL_DESTINATION ${millrace_cmake_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/millraceConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/millraceConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/millraceConfigVersion.cmake
        DESTINATION ${millrace_cmake_dir})

file(RELATIVE_PATH millrace_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /.)
configure_file(millrace.pc.in ${CMAKE_CURRENT_BINARY_DIR}/millrace.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/millrace.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
