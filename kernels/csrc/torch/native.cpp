#include "native.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace equinet {

namespace {

[[noreturn]] void fail(const std::string& why) { throw std::runtime_error("libequinet_ops: " + why); }

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::string file_of(const void* address) {
    Dl_info info;
    return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

// Instruction sets that a processor has, best first; the same choice as native.py makes.
std::vector<std::string> variants(const std::string& capability) {
    if (const std::string chosen = environment("EQUINET_CPU_VARIANT"); !chosen.empty()) return {chosen};
#if defined(__x86_64__)
    if (capability == "AVX512") return {"x86_64_v4", "x86_64_v3", "x86_64_v2"};
    if (capability == "AVX2") return {"x86_64_v3", "x86_64_v2"};
    return {"x86_64_v2"};
#elif defined(__aarch64__)
    return {"aarch64_neon"};
#else
    return {};
#endif
}

// The file that the environment names, or the first of these that lies beside this library.
std::string find_library(const char* variable, const std::vector<std::string>& names) {
    if (const std::string chosen = environment(variable); !chosen.empty()) return chosen;
    static const char here = 0;
    const std::string self = file_of(&here);
    const std::string folder = self.substr(0, self.rfind('/') + 1);
    std::string sought;
    for (const std::string& name : names) {
        if (access((folder + name).c_str(), R_OK) == 0) return folder + name;
        sought += (sought.empty() ? "" : " or ") + name;
    }
    fail("no " + (sought.empty() ? "library for this kind of processor" : sought) + " in " + folder +
         "; put it there, or name one by the environment variable " + variable);
}

// GOMP_parallel of the OpenMP runtime that torch computes with, or null: sought where torch's own calls find it, first
// among the objects that the whole process sees, then among those that torch brought.
void* openmp_region(const void* torch_address) {
    if (void* global = dlsym(RTLD_DEFAULT, "GOMP_parallel")) return global;
    void* torch = dlopen(file_of(torch_address).c_str(), RTLD_LAZY | RTLD_NOLOAD);
    return torch ? dlsym(torch, "GOMP_parallel") : nullptr;
}

struct Library {
    std::string path;
    void* handle;

    explicit Library(const std::string& file) : path(file), handle(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
        if (!handle) fail(std::string("a library does not load: ") + dlerror());
    }

    void* function(const char* name) const {
        void* found = dlsym(handle, name);
        if (!found) fail(path + " has no function " + name + "; it is of another version");
        return found;
    }

    void require_version(const char* function_name, int wanted) const {
        const int version = reinterpret_cast<int (*)()>(function(function_name))();
        if (version != wanted)
            fail(path + " has version " + std::to_string(version) + " of the interface, this library wants " +
                 std::to_string(wanted) + "; build both from the same sources");
    }
};

Library open_cpu_library(const std::string& capability, const void* torch_address) {
    std::vector<std::string> names;
    for (const std::string& variant : variants(capability)) names.push_back("libequinet_cpu-" + variant + ".so");
    Library library(find_library("EQUINET_CPU_LIBRARY", names));
    library.require_version("equinet_abi_version", EQUINET_ABI_VERSION);
    using Region = void (*)(void (*)(void*), void*, unsigned, unsigned);
    const auto set_region = reinterpret_cast<void (*)(Region)>(library.function("equinet_set_parallel_region"));
    set_region(reinterpret_cast<Region>(openmp_region(torch_address)));
    return library;
}

Library open_cuda_library() {
    Library library(find_library("EQUINET_CUDA_LIBRARY", {"libequinet_cuda.so"}));
    library.require_version("equinet_cuda_abi_version", EQUINET_CUDA_ABI_VERSION);
    return library;
}

}  // namespace

// Where opening one throws, the next call tries again.
void* cpu_function(const char* name, const std::string& capability, const void* torch_address) {
    static const Library library = open_cpu_library(capability, torch_address);
    return library.function(name);
}

void* cuda_function(const char* name) {
    static const Library library = open_cuda_library();
    return library.function(name);
}

}  // namespace equinet
