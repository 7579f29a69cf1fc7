// A program without Python, as a molecular dynamics code would be: opens libequinet_ops.so, runs the convolution and
// its gradient, by the dispatcher and in a TorchScript model, and prints what comes out; the test reads the lines.
//
//     host libequinet_ops.so model.pt
//
// model.pt: a TorchScript module; forward(x, y, w) convolves; attributes hold the arguments and the expected results.
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <dirent.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <iostream>
#include <vector>

namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;
const char* const kInputs[] = {"x", "y", "w"};
const char* const kExpected[] = {"out", "dx", "dy", "dw"};

int threads_of_this_process() {
    DIR* folder = opendir("/proc/self/task");
    int count = 0;
    while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

Tensor convolve(const torch::jit::Module& model, const Tensors& inputs, const char* spec = nullptr) {
    torch::jit::Stack stack(inputs.begin(), inputs.end());
    for (const char* name : {"senders", "receivers", "row_ptr", "sender_perm", "sender_ptr"})
        stack.push_back(model.attr(name));
    stack.push_back(spec ? c10::IValue(spec) : model.attr("spec"));
    c10::Dispatcher::singleton().findSchemaOrThrow("equinet::uvu_conv", "").callBoxed(&stack);
    return stack.at(0).toTensor();
}

Tensors inputs_of(const torch::jit::Module& model) {
    Tensors inputs;
    for (const char* name : kInputs) inputs.push_back(model.attr(name).toTensor().clone().requires_grad_());
    return inputs;
}

// Relative errors of a result and of the gradients that follow from it.
void compare(const char* how, const torch::jit::Module& model, const Tensor& out, const Tensors& inputs) {
    Tensors found = torch::autograd::grad({out}, inputs, {model.attr("g").toTensor()});
    found.insert(found.begin(), out.detach());
    for (size_t i = 0; i < found.size(); ++i) {
        const Tensor expected = model.attr(kExpected[i]).toTensor();
        const double error = found[i].sub(expected).abs().max().item<double>() / expected.abs().max().item<double>();
        std::cout << how << " " << kExpected[i] << ": " << error << "\n";
    }
}

template <class Body>
void print_error(const char* what, const Body& body) {
    try {
        body();
        std::cout << what << ": no error\n";
    } catch (const c10::Error& error) {
        std::cout << what << ": " << error.what_without_backtrace() << "\n";
    } catch (const std::exception& error) {
        std::cout << what << ": " << error.what() << "\n";
    }
}

}  // namespace

int main(int, char** arguments) {
    if (!dlopen(arguments[1], RTLD_NOW)) {
        std::cerr << dlerror() << "\n";
        return 1;
    }
    at::set_num_threads(3);
    torch::jit::Module model = torch::jit::load(arguments[2]);

    const int before = threads_of_this_process();
    convolve(model, {model.attr("x").toTensor(), model.attr("y").toTensor(), model.attr("w").toTensor()});
    std::cout << "threads that torch keeps: " << threads_of_this_process() - before << "\n";

    const Tensors inputs = inputs_of(model);
    compare("dispatcher", model, convolve(model, inputs), inputs);
    for (int run = 0; run < 3; ++run)  // TorchScript optimises what it has seen run
        compare("script", model, model.forward({inputs[0], inputs[1], inputs[2]}).toTensor(), inputs);

    print_error("second derivative", [&] {
        const Tensors first = torch::autograd::grad({convolve(model, inputs).sum()}, inputs, {}, std::nullopt, true);
        torch::autograd::grad({first[0].sum()}, {inputs[1]});
    });
    print_error("shape", [&] { convolve(model, {inputs[0], inputs[0], inputs[2]}); });
    print_error("spec", [&] { convolve(model, inputs, "nonsense"); });
    return 0;
}
