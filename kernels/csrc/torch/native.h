// The functions of libequinet_cpu and libequinet_cuda, opened when the first of them is called. Knows nothing of torch.
#pragma once

#include <string>

#include "../cpu/api.h"
#include "../cuda/api.h"

namespace equinet {

// A function of the CPU library that suits a processor: EQUINET_CPU_LIBRARY names its file; else it lies beside this
// library, for the instruction set that EQUINET_CPU_VARIANT names or else the best that the processor has. capability:
// as torch names it. torch_address: of any function in torch, whose threads are shared.
// Throws std::runtime_error: no such library, or one of another version.
void* cpu_function(const char* name, const std::string& capability, const void* torch_address);

// A function of the CUDA library: EQUINET_CUDA_LIBRARY names its file; else it lies beside this library.
void* cuda_function(const char* name);

}  // namespace equinet
