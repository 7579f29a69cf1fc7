// What operators ask of their arguments; checks.py asks it in the same words, that both may be looked up in one place.
#pragma once

#include "arguments.h"

namespace equinet {

using Names = std::initializer_list<std::string>;

inline std::string dtype_name(const at::Tensor& tensor) {
    return "torch." + std::string(c10::getDtypeNames(tensor.scalar_type()).first);
}

inline bool is_float(const at::Tensor& tensor) {
    return tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble;
}

inline void check_numbers(const Arguments& a, Names names) {
    const std::string& first = *names.begin();
    for (const std::string& name : names) {
        const at::Tensor& tensor = a[name];
        TORCH_CHECK_VALUE(tensor.scalar_type() == a[first].scalar_type() && is_float(tensor), a.operator_name(), ": ",
                          name, " is ", dtype_name(tensor), "; numbers must be all float32 or all float64");
        TORCH_CHECK_VALUE(tensor.device() == a[first].device(), a.operator_name(), ": ", name, " is on ",
                          tensor.device(), ", ", first, " on ", a[first].device());
    }
}

// On the device of these numbers.
inline void check_indices(const Arguments& a, const at::Tensor& numbers, Names names) {
    for (const std::string& name : names) {
        const at::Tensor& tensor = a[name];
        TORCH_CHECK_VALUE(tensor.scalar_type() == at::kLong, a.operator_name(), ": ", name, " is ", dtype_name(tensor),
                          "; it must be int64");
        TORCH_CHECK_VALUE(tensor.device() == numbers.device(), a.operator_name(), ": ", name, " is on ",
                          tensor.device(), ", the numbers on ", numbers.device());
    }
}

// wanted: -1 where any number will do.
inline void check_shape(const Arguments& a, const std::string& name, std::vector<int64_t> wanted) {
    const at::IntArrayRef sizes = a[name].sizes();
    bool fits = sizes.size() == wanted.size();
    std::string text;
    for (size_t i = 0; i < wanted.size(); ++i) {
        fits = fits && (wanted[i] == -1 || wanted[i] == sizes[i]);
        text += (i ? ", " : "") + (wanted[i] == -1 ? "any" : std::to_string(wanted[i]));
    }
    TORCH_CHECK_VALUE(fits, a.operator_name(), ": ", name, " must be [", text, "], got ", sizes);
}

}  // namespace equinet
