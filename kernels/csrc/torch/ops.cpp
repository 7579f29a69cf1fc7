// libequinet_ops: registers the operators in processes without Python, from the text that Python registers them from.
//
// It adds only what is not there yet. Where Python came first nothing is left to do; where Python comes later, its
// kernels, and its derivatives of higher order, take the place of these.
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/version.h>
#include <torch/library.h>

#include <cstdio>
#include <map>
#include <sstream>

#include "conv.h"
#include "geometry.h"
#include "ghosts.h"
#include "radial.h"
#include "schemas.h"  // kSchemas: schemas.txt, made a literal by ops_build.py

namespace equinet {

namespace {

using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;
using c10::OperatorHandle;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using torch::jit::Stack;

const Operator* find_operator(const std::string& name) {
    static const auto by_name = [] {
        std::map<std::string, Operator> all;
        for (const auto& operators : {conv_operators(), spline_operators(), hidden_operators(), tabulated_operators(),
                                      harmonics_operators(), edge_vector_operators(), segment_operators(), ghost_operators()})
            for (const Operator& one : operators) all.emplace(one.name, one);
        return all;
    }();
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : &found->second;
}

// All operators have the same kernels: arguments are taken from the stack, results are left there.
Arguments take_arguments(const OperatorHandle& handle, Stack* stack) {
    return Arguments(handle.schema(), torch::jit::pop(*stack, handle.schema().arguments().size()));
}

void leave(const Results& results, Stack* stack) { stack->insert(stack->end(), results.begin(), results.end()); }

template <class Run>
void kernel(const OperatorHandle& handle, Stack* stack, const Run& run) {
    Arguments arguments = take_arguments(handle, stack);
    const Operator& definition = *find_operator(arguments.operator_name());
    definition.check(arguments);
    arguments.make_dense();
    const Results results = definition.results(arguments);
    run(definition, arguments, results);
    leave(results, stack);
}

void cpu_kernel(const OperatorHandle& handle, Stack* stack) {
    kernel(handle, stack, [](const Operator& definition, const Arguments& arguments, const Results& results) {
        definition.cpu(arguments, results);
    });
}

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11  // a stream's native_handle(), which needs no CUDA header
#define EQUINET_CUDA_KERNELS
void cuda_kernel(const OperatorHandle& handle, Stack* stack) {
    kernel(handle, stack, [](const Operator& definition, const Arguments& arguments, const Results& results) {
        const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
        definition.cuda(arguments, results, cuda.getStream(results.front().device()).native_handle());
    });
}
#endif

void meta_kernel(const OperatorHandle& handle, Stack* stack) {
    const Arguments arguments = take_arguments(handle, stack);
    leave(find_operator(arguments.operator_name())->results(arguments), stack);
}

struct FirstOrder : torch::autograd::Function<FirstOrder> {
    static variable_list forward(AutogradContext* context, at::TensorList tensors, const OperatorHandle& handle,
                                 DispatchKeySet keys, Stack* stack) {
        // tensors are saved apart from the rest, that autograd may watch over them
        context->save_for_backward(tensors.vec());
        std::vector<IValue> rest = *stack;
        for (IValue& argument : rest)
            if (argument.isTensor()) argument = at::Tensor();
        context->saved_data["rest"] = c10::ivalue::Tuple::create(std::move(rest));
        context->saved_data["operator"] = toString(handle.operator_name());

        at::AutoDispatchBelowAutograd below;
        handle.redispatchBoxed(keys & c10::after_autograd_keyset, stack);
        variable_list results;
        for (const IValue& result : *stack) results.push_back(result.toTensor());
        return results;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const std::string& name = context->saved_data["operator"].toStringRef();
        const OperatorHandle handle = c10::Dispatcher::singleton().findSchemaOrThrow(name.c_str(), "");
        const variable_list tensors = context->get_saved_variables();
        auto tensor = tensors.begin();
        std::vector<IValue> values = context->saved_data["rest"].toTupleRef().elements().vec();
        for (IValue& value : values)
            if (value.isTensor()) value = *tensor++;
        const Arguments arguments(handle.schema(), std::move(values));
        const Operator& definition = *find_operator(arguments.operator_name());
        TORCH_CHECK_NOT_IMPLEMENTED(definition.derivative, definition.name,
                                    " cannot be differentiated: libequinet_ops has first derivatives, for forces; "
                                    "those of second order (training, Hessians) need Python: import equinet_kernels");
        variable_list results = definition.derivative(arguments, gradients);
        results.resize(tensors.size() +
                       3);  // none for the other tensors, and for the other three of forward's arguments
        return results;
    }
};

void autograd_kernel(const OperatorHandle& handle, DispatchKeySet keys, Stack* stack) {
    Stack arguments = torch::jit::pop(*stack, handle.schema().arguments().size());
    variable_list tensors;
    for (const IValue& argument : arguments)
        if (argument.isTensor()) tensors.push_back(argument.toTensor());
    leave(FirstOrder::apply(at::TensorList(tensors), handle, keys, &arguments), stack);
}

void set_ghost_host(int64_t context, int64_t fetch, int64_t give_back) {
    const auto function = [](int64_t address) { return reinterpret_cast<GhostHost::Function*>(address); };
    ghost_host() = {reinterpret_cast<void*>(context), function(fetch), function(give_back)};
}

void register_operators(torch::Library& library) {
    std::istringstream lines(kSchemas);
    for (std::string schema; std::getline(lines, schema);) {
        const std::string name = schema.substr(0, schema.find('('));
        const Operator* definition = find_operator(name);
        if (!definition && name != "set_ghost_host") continue;
        const std::string qualified = "equinet::" + name;
        c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
        // a second definition would end the process
        const bool first = !dispatcher.findSchema({qualified, ""});
        if (first) library.def(schema.c_str());
        if (!definition) {
            if (first) library.impl(name.c_str(), &set_ghost_host);
            continue;
        }
        const OperatorHandle handle = dispatcher.findSchemaOrThrow(qualified.c_str(), "");
        const auto add = [&](DispatchKey key, torch::CppFunction&& kernel) {
            if (!handle.hasKernelForDispatchKey(key))
                library.impl(name.c_str(), torch::dispatch(key, std::move(kernel).debug("libequinet_ops")));
        };
        add(DispatchKey::CPU, torch::CppFunction::makeFromBoxedFunction<&cpu_kernel>());
#ifdef EQUINET_CUDA_KERNELS
        if (definition->cuda) add(DispatchKey::CUDA, torch::CppFunction::makeFromBoxedFunction<&cuda_kernel>());
#endif
        add(DispatchKey::Meta, torch::CppFunction::makeFromBoxedFunction<&meta_kernel>());
        add(DispatchKey::Autograd, torch::CppFunction::makeFromBoxedFunction<&autograd_kernel>());
    }
}

// torch's C++ interface is another one in each minor version; a call across versions would crash sooner or later.
const bool registered = [] {
    const uint64_t built = TORCH_ABI_VERSION, running = aoti_torch_abi_version();
    const auto major = [](uint64_t version) { return static_cast<unsigned>(version >> 56); };
    const auto minor = [](uint64_t version) { return static_cast<unsigned>(version >> 48 & 0xff); };
    if (built >> 48 != running >> 48) {
        std::fprintf(
            stderr,
            "libequinet_ops: built for torch %u.%u, but this process runs torch %u.%u: no operator is registered; "
            "build it again with that torch (kernels/ops_build.py)\n",
            major(built), minor(built), major(running), minor(running));
        return false;
    }
    static torch::Library library(torch::Library::FRAGMENT, "equinet", std::nullopt, __FILE__, __LINE__);
    register_operators(library);
    return true;
}();

}  // namespace

}  // namespace equinet

// Through torch, for whoever answers ghost_rows in this process: this library, another copy of it, or Python.
void equinet_set_ghost_host(equinet::GhostHost host) {
    const auto address = [](auto* pointer) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(pointer)); };
    torch::jit::Stack stack{address(host.context), address(host.fetch), address(host.give_back)};
    c10::Dispatcher::singleton().findSchemaOrThrow("equinet::set_ghost_host", "").callBoxed(&stack);
}
