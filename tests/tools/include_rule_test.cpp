#include "tests/support/include_rule.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace ghost::test {
namespace {

using Findings = std::vector<std::string>;

TEST_CASE("the sources of the repository keep the include rule", "[include_rule]") {
  namespace fs = std::filesystem;
  const fs::path root = GHOST_SOURCE_DIR;
  std::int64_t num_files = 0;
  for (const char* layer : {"engine", "ops", "data", "models", "tools", "tests"}) {
    if (!fs::is_directory(root / layer)) {
      continue;
    }
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / layer)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") {
        continue;
      }
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      const std::string path = fs::relative(entry.path(), root).generic_string();
      for (const std::string& finding : check_source(path, text)) {
        FAIL_CHECK(finding);
      }
      ++num_files;
    }
  }
  CHECK(num_files > 10);
}

TEST_CASE("includes that point down or into the own folder are fine", "[include_rule]") {
  CHECK(check_source("ops/linear.cpp",
                     "#include \"ops/linear.h\"\n#include <vector>\n\n#include <fmt/format.h>\n"
                     "#include \"engine/tensor/tensor.h\"\n")
            .empty());
  CHECK(check_source("models/gpt/gpt.cpp", "#include \"data/batch.h\"\n#include \"ops/linear.h\"\n")
            .empty());
  CHECK(check_source("tests/ops/linear_test.cpp",
                     "#include \"tools/train/trainer.h\"\n#include <oneapi/dnnl/dnnl.h>\n")
            .empty());
}

TEST_CASE("an include that points up or sideways is found", "[include_rule]") {
  CHECK(check_source("engine/tensor/tensor.cpp", "\n#include \"ops/linear.h\"\n") ==
        Findings{"engine/tensor/tensor.cpp:2: includes \"ops/linear.h\"; engine sees only engine"});
  CHECK(check_source("ops/linear.cpp", "#include \"data/batch.h\"\n") ==
        Findings{"ops/linear.cpp:1: includes \"data/batch.h\"; ops sees only engine, ops"});
  CHECK(check_source("data/batch.cpp", "  #  include \"ops/linear.h\"\n") ==
        Findings{"data/batch.cpp:1: includes \"ops/linear.h\"; data sees only engine, data"});
  CHECK(check_source("models/gpt/gpt.cpp", "#include \"tools/train/trainer.h\"\n").size() == 1);
  CHECK(check_source("tools/main.cpp", "#include \"tests/support/catch.h\"\n").size() == 1);
}

TEST_CASE("an include from the own folder by file name alone is found", "[include_rule]") {
  CHECK(check_source("ops/linear.cpp", "#include \"linear.h\"\n") ==
        Findings{"ops/linear.cpp:1: includes \"linear.h\"; expected a path from the repository "
                 "root"});
}

TEST_CASE("a vendor header outside its folder is found", "[include_rule]") {
  CHECK(check_source("ops/linear.cpp", "#include <oneapi/dnnl/dnnl.hpp>\n") ==
        Findings{"ops/linear.cpp:1: includes <oneapi/dnnl/dnnl.hpp>, which belongs to ops/cpu/"});
  struct Case {
    const char* header;
    const char* owner;
  };
  for (const Case& c :
       {Case{"cuda_runtime.h", "engine/device/cuda/device.cpp"},
        Case{"cublasLt.h", "ops/cuda/gemm.cu"}, Case{"curand_kernel.h", "ops/cuda/dropout.cu"},
        Case{"nccl.h", "engine/comm/nccl.cpp"}, Case{"mpi.h", "engine/comm/mpi.cpp"},
        Case{"oneapi/dnnl/dnnl.h", "ops/cpu/gemm.cpp"},
        Case{"yaml-cpp/yaml.h", "engine/config/yaml_file.cpp"},
        Case{"curl/curl.h", "data/download.cpp"}, Case{"zlib.h", "data/gzip.cpp"},
        Case{"pcre2.h", "data/tokenizer/gpt2.cpp"},
        Case{"Random123/philox.h", "engine/random/philox.cpp"},
        Case{"openssl/evp.h", "engine/io/sha256.cpp"},
        Case{"CLI/CLI.hpp", "tools/report/command.cpp"}}) {
    const std::string line = std::string("#include <") + c.header + ">\n";
    CAPTURE(c.header);
    CHECK(check_source(c.owner, line).empty());
    CHECK(check_source("models/gpt/gpt.cpp", line).size() == 1);
  }
}

TEST_CASE("a header without include guard and an overlong file are found", "[include_rule]") {
  CHECK(check_source("ops/linear.h", "// #pragma once\n") ==
        Findings{"ops/linear.h: has no #pragma once"});
  CHECK(check_source("ops/linear.h", "#pragma once\n").empty());
  const std::string text(800, '\n');
  CHECK(check_source("ops/linear.cpp", text).empty());
  CHECK(check_source("ops/linear.cpp", text + "x") ==
        Findings{"ops/linear.cpp: has 801 lines; expected at most 800"});
}

TEST_CASE("a source outside the layers is found", "[include_rule]") {
  CHECK(check_source("misc/x.cpp", "") == Findings{"misc/x.cpp: lies in no layer"});
}

}  // namespace
}  // namespace ghost::test
