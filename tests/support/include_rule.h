#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ghost::test {

/// What is wrong with one source file, one sentence a finding: includes that point up or sideways,
/// vendor headers outside the folder that owns them, a header without #pragma once, more than 800
/// lines. `path` is relative to the repository, as in "ops/cpu/gemm.cpp"; `text` its contents.
std::vector<std::string> check_source(std::string_view path, std::string_view text);

}  // namespace ghost::test
