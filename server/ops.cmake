# millrace_server_ops: configuration, log, metrics, HTTP port and process set-up; nothing of gRPC or RocksDB.
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
find_package(CLI11 REQUIRED)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)

add_library(millrace_server_ops STATIC
  flags.cc
  arguments.cc
  cluster_flags.cc
  config.cc
  config_sources.cc
  heap.cc
  host_port.cc
  http_server.cc
  log.cc
  process_limits.cc
  metrics.cc
  secret_file.cc
  topic_config.cc
)
target_link_libraries(millrace_server_ops
  PUBLIC absl::status absl::statusor
  PRIVATE millrace_wire absl::strings absl::time yaml-cpp prometheus-cpp::core CLI11::CLI11
          PkgConfig::MICROHTTPD Threads::Threads)
target_compile_definitions(millrace_server_ops PRIVATE MILLRACE_VERSION="${PROJECT_VERSION}")
