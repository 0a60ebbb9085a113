#pragma once

#include <string_view>
#include <type_traits>

namespace ghost {

/// One enumerator as text, as YAML writes it.
template <class E>
struct EnumName {
  E value;
  std::string_view name;
};

/// The names of an enum class, in the order messages list them. Specialise next to the enum:
///
///   template <>
///   struct EnumNames<ScheduleKind> {
///     static constexpr EnumName<ScheduleKind> kNames[] = {
///         {ScheduleKind::kConstant, "constant"},
///         {ScheduleKind::kCosine, "cosine"},
///     };
///   };
template <class E>
struct EnumNames;

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires {
  EnumNames<E>::kNames;
};

/// The name of an enumerator; empty for a value that has none.
template <NamedEnum E>
constexpr std::string_view enum_name(E value) {
  for (const EnumName<E>& known : EnumNames<E>::kNames) {
    if (known.value == value) {
      return known.name;
    }
  }
  return {};
}

}  // namespace ghost
