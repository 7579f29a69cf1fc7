// What an operator was called with, by the names of its schema: looked at, checked, and handed on to C functions.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <string>
#include <vector>

#include "native.h"

namespace equinet {

using Results = std::vector<at::Tensor>;

class Arguments {
public:
    Arguments(const c10::FunctionSchema& schema, std::vector<c10::IValue> values)
        : schema_(schema), values_(std::move(values)) {}

    std::string operator_name() const { return schema_.name().substr(schema_.name().find("::") + 2); }

    const at::Tensor& operator[](const std::string& name) const { return value(name).toTensor(); }
    const std::string& text(const std::string& name) const { return value(name).toStringRef(); }
    int64_t whole(const std::string& name) const { return value(name).toInt(); }
    c10::SymInt size(const std::string& name) const { return value(name).toSymInt(); }
    double real(const std::string& name) const { return value(name).toDouble(); }
    bool has(const std::string& name) const { return !value(name).isNone(); }

    const std::vector<c10::IValue>& values() const { return values_; }

    // Lays tensors out densely: kernels read dense rows.
    void make_dense() {
        for (c10::IValue& value : values_)
            if (value.isTensor()) value = value.toTensor().contiguous();
    }

private:
    const c10::IValue& value(const std::string& name) const {
        const auto index = schema_.argumentIndexWithName(name);
        TORCH_INTERNAL_ASSERT(index, schema_.name(), " has no argument ", name);
        return values_[*index];
    }

    const c10::FunctionSchema& schema_;
    std::vector<c10::IValue> values_;
};

// Results to be filled, or (zeros) added to; without data where the arguments have none (sizes may then be symbols).
inline at::Tensor empty_rows(const at::Tensor& like, int64_t columns) {
    return at::empty_symint({like.sym_size(0), columns}, like.options());
}
inline at::Tensor empty_like(const at::Tensor& like) { return at::empty_symint(like.sym_sizes(), like.options()); }
inline at::Tensor zeros_like(const at::Tensor& like) { return at::zeros_symint(like.sym_sizes(), like.options()); }

// An argument of a C function: tensors go as pointers, dtypes as their codes, strings as C strings.
template <class Parameter>
Parameter as_c(const at::Tensor& tensor) {
    return static_cast<Parameter>(tensor.data_ptr());
}
template <class Parameter>
Parameter as_c(const std::string& text) {
    return text.c_str();
}
template <class Parameter>
Parameter as_c(at::ScalarType dtype) {
    return dtype == at::kDouble ? 1 : 0;
}
template <class Parameter>
Parameter as_c(std::nullptr_t) {
    return nullptr;
}
template <class Parameter, class Number,
          class = std::enable_if_t<std::is_arithmetic_v<Number> || std::is_pointer_v<Number>>>
Parameter as_c(Number number) {
    return number;
}

// A function of cpu/api.h or cuda/api.h, and the one that says what went wrong in it.
template <class Function>
struct Named {
    const char* name;
    Function* function;
    const char* (*last_error)();
};

#define EQUINET_FOUND(function, find)                        \
    ([] {                                                    \
        static void* const found = find;                     \
        return reinterpret_cast<decltype(&function)>(found); \
    }())
#define EQUINET_CPU_ADDRESS(function)                                         \
    EQUINET_FOUND(function, cpu_function(#function, at::get_cpu_capability(), \
                                         reinterpret_cast<const void*>(&at::get_num_threads)))
#define EQUINET_CUDA_ADDRESS(function) EQUINET_FOUND(function, cuda_function(#function))

#define EQUINET_CPU(function) \
    (Named<decltype(function)>{#function, EQUINET_CPU_ADDRESS(function), EQUINET_CPU_ADDRESS(equinet_last_error)})
#define EQUINET_CUDA(function)                                            \
    (Named<decltype(function)>{#function, EQUINET_CUDA_ADDRESS(function), \
                               EQUINET_CUDA_ADDRESS(equinet_cuda_last_error)})

// Calls a C function; an error that it reports is thrown.
template <class... Parameters, class... Given>
void call(Named<int(Parameters...)> named, const Given&... given) {
    static_assert(sizeof...(Parameters) == sizeof...(Given));
    if (named.function(as_c<Parameters>(given)...) != 0)
        TORCH_CHECK_VALUE(false, named.name + sizeof("equinet") /* and _ */, ": ", named.last_error());
}

}  // namespace equinet
