// A CUDA device in plain C++, for tests: put this folder in front of the include path and any C++ compiler takes the .cu
// files as they are. Blocks run one after the other, the threads of a block as coroutines (emulation.cpp).
//
// What it finds beyond wrong numbers: lanes that wait at different places, values read from shared memory before they were
// written or copied (they are NaN) or behind its end, copies to odd addresses or never waited for, and, by running the lanes
// in reverse, results that depend on their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, gridDim;

enum cudaError_t { cudaSuccess = 0, cudaErrorUnknown = 999 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice };
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
};
using cudaStream_t = void*;

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDevice(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes*, const void*);
cudaError_t cudaMalloc(void**, std::size_t);
cudaError_t cudaMemcpyAsync(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemset2DAsync(void*, std::size_t, int, std::size_t, std::size_t, cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);

namespace emulation {

// Runs kernel(argument) for every thread of every block.
cudaError_t run(void (*thread)(const void* kernel, const void* argument), const void* kernel, const void* argument,
                dim3 grid, dim3 block, std::size_t shared_bytes);
// Gives value to the warp, waits for the other lanes, and returns what the given lane gave.
std::uint64_t exchange(std::uint64_t value, int from, const char* file, int line);
// Copies of the present thread, in groups: they are made when it waits until no more than `latest` groups are under way.
void copy_async(void* to, const void* from, std::size_t bytes);
void close_copies();
void wait_for_copies(int latest);

}  // namespace emulation

template <class Argument>
cudaError_t cudaLaunchKernel(void (*kernel)(Argument), dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t) {
    const auto thread = [](const void* function, const void* argument) {
        (*static_cast<void (*const*)(Argument)>(function))(*static_cast<const Argument*>(argument));
    };
    return emulation::run(thread, &kernel, arguments[0], grid, block, shared_bytes);
}

inline void __syncwarp(unsigned = 0xffffffffu, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::exchange(0, 0, file, line);
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int lane_mask, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = emulation::exchange(bits, static_cast<int>(threadIdx.x) ^ lane_mask, file, line);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

template <class T>
T __ldg(const T* address) {
    return *address;
}
template <class T>
T __ldcs(const T* address) {
    return *address;
}
template <class T>
void __stcs(T* address, T value) {
    *address = value;
}
inline std::int64_t min(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
