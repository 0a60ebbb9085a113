# Every package we build on, found once, with one printed line each.
# Debian 12 / Ubuntu 24.04 names stand in tools/install_deps.sh.

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(dnnl REQUIRED CONFIG)

# Random123 and PCRE2 ship no CMake package in Debian 12.
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
add_library(Random123::Random123 INTERFACE IMPORTED)
target_include_directories(Random123::Random123 SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})

find_path(PCRE2_INCLUDE_DIR pcre2.h REQUIRED)
find_library(PCRE2_LIBRARY pcre2-8 REQUIRED)
add_library(PCRE2::PCRE2 INTERFACE IMPORTED)
target_include_directories(PCRE2::PCRE2 SYSTEM INTERFACE ${PCRE2_INCLUDE_DIR})
target_link_libraries(PCRE2::PCRE2 INTERFACE ${PCRE2_LIBRARY})

if(GHOSTGRAD_TESTS)
  find_package(Catch2 REQUIRED)
endif()

find_package(MPI QUIET COMPONENTS CXX)
find_package(CUDAToolkit QUIET)
if(GHOSTGRAD_CUDA AND NOT CUDAToolkit_FOUND)
  message(FATAL_ERROR "GHOSTGRAD_CUDA is ON and no CUDA Toolkit was found; expected nvcc on PATH or CUDAToolkit_ROOT")
endif()

function(ghost_report name found effect)
  if(found)
    message(STATUS "  ${name}: ${found}")
  else()
    message(STATUS "  ${name}: not found; ${effect}")
  endif()
endfunction()

message(STATUS "Ghostgrad ${PROJECT_VERSION} builds on")
message(STATUS "  fmt ${fmt_VERSION}, CLI11 ${CLI11_VERSION}, yaml-cpp ${yaml-cpp_VERSION}, nlohmann-json ${nlohmann_json_VERSION}")
message(STATUS "  oneDNN ${dnnl_VERSION}, OpenMP ${OpenMP_CXX_VERSION}, zlib ${ZLIB_VERSION_STRING}, libcurl ${CURL_VERSION_STRING}, OpenSSL ${OPENSSL_VERSION}")
message(STATUS "  Random123: ${RANDOM123_INCLUDE_DIR}, PCRE2: ${PCRE2_LIBRARY}")
ghost_report("Catch2" "${Catch2_VERSION}" "GHOSTGRAD_TESTS is off, no tests are built")
ghost_report("MPI" "${MPI_CXX_VERSION}" "runs use one process")
ghost_report("CUDA Toolkit" "${CUDAToolkit_VERSION}" "the CUDA backend cannot be built")
if(GHOSTGRAD_CUDA)
  message(STATUS "  backends: cpu, cuda")
else()
  message(STATUS "  backends: cpu (GHOSTGRAD_CUDA is OFF)")
endif()
