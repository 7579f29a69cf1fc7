// Copies from global to shared memory that are under way while a warp computes, and hints to the caches.
//
// Copies come in groups, of each lane its own; a lane may read what it has copied itself once it has waited. The emulation
// brings them only when they are waited for, so that a missing wait shows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace equinet::cuda {

// What passes once, such as weights, leaves the L2 cache first: it would push out features, which are read by every edge of
// their node.
__device__ inline uint64_t passing() {
    uint64_t policy = 0;
#ifdef __CUDA_ARCH__
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
#endif
    return policy;
}

template <class T>
__device__ inline void copy_async(T* to, const T* from) {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from), "n"(static_cast<int>(sizeof(T)))
                 : "memory");
#elif !defined(__CUDACC__)
    emulation::copy_async(to, from, sizeof(T));
#endif
}

template <class T>
__device__ inline void copy_async(T* to, const T* from, uint64_t policy) {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.ca.shared.global.L2::cache_hint [%0], [%1], %2, %3;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from), "n"(static_cast<int>(sizeof(T))),
                   "l"(policy)
                 : "memory");
#else
    static_cast<void>(policy);
    copy_async(to, from);
#endif
}

// Ends a group of copies.
__device__ inline void close_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(__CUDACC__)
    emulation::close_copies();
#endif
}

// Waits until no more than the N latest groups are under way.
template <int N>
__device__ inline void wait_for_copies() {
#if defined(__CUDA_ARCH__)
    asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
#elif !defined(__CUDACC__)
    emulation::wait_for_copies(N);
#endif
}

__device__ inline void prefetch_to_l2(const void* address) {
#ifdef __CUDA_ARCH__
    asm volatile("prefetch.global.L2 [%0];" : : "l"(address));
#else
    static_cast<void>(address);
#endif
}

}  // namespace equinet::cuda
