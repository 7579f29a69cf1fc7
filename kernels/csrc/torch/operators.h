// What an operator consists of beyond its schema. A new one is one more entry in a list such as conv.h's.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include "checks.h"

namespace equinet {

struct Operator {
    const char* name;
    void (*check)(const Arguments&);
    // Of the right shapes, to be filled; also for tensors without data.
    Results (*results)(const Arguments&);
    // Fills them. The arguments are checked and dense.
    void (*cpu)(const Arguments&, const Results&);
    // Gradients of the first so many arguments, from those of the results; null where this library has none.
    Results (*derivative)(const Arguments&, const Results& gradients) = nullptr;
    // The same as cpu on a GPU, queued on a stream; null where there is no kernel.
    void (*cuda)(const Arguments&, const Results&, void* stream) = nullptr;
};

// The operators are called as any program calls them, so that derivatives of these calls are recorded.
inline Results call_operator(const std::string& name, torch::jit::Stack arguments) {
    c10::Dispatcher::singleton().findSchemaOrThrow(("equinet::" + name).c_str(), "").callBoxed(&arguments);
    Results results;
    for (const c10::IValue& result : arguments) results.push_back(result.toTensor());
    return results;
}

// Gradients by the operator that takes those of the results, then all arguments.
inline Results gradients_by(const std::string& backward, const Arguments& a, const Results& gradients) {
    torch::jit::Stack arguments(gradients.begin(), gradients.end());
    arguments.insert(arguments.end(), a.values().begin(), a.values().end());
    return call_operator(backward, std::move(arguments));
}

}  // namespace equinet
