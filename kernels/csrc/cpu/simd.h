// Vectors of the width this file is compiled for, and the loops over channels that use them.
//
// GCC's and clang's vector extensions: the compiler maps them to SSE, AVX2, AVX-512 or NEON, by the flags it is given.
#pragma once

#include <cstddef>

namespace equinet {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Simd;
template <>
struct Simd<float> {
    typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Simd<double> {
    typedef double type __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vec = typename Simd<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// Several vectors that lie side by side: a scalar read once serves them all.
template <class T, int Count>
struct Pack {
    Vec<T> parts[Count];
};

// Inlined whatever the compiler thinks of its size: arguments then stay in registers from one vector to the next.
#define EQUINET_INLINE __attribute__((always_inline)) static inline

#if defined(__clang__)
#define EQUINET_UNROLL _Pragma("unroll")
#else
#define EQUINET_UNROLL _Pragma("GCC unroll 16")
#endif

#define EQUINET_PACK_OPERATOR(LEFT, OP, RIGHT, EXPRESSION)           \
    template <class T, int Count>                                   \
    inline Pack<T, Count> operator OP(LEFT a, RIGHT b) {            \
        Pack<T, Count> result;                                      \
        EQUINET_UNROLL                                              \
        for (int n = 0; n < Count; ++n) result.parts[n] = EXPRESSION; \
        return result;                                              \
    }
#define EQUINET_PACK const Pack<T, Count>&
EQUINET_PACK_OPERATOR(EQUINET_PACK, +, EQUINET_PACK, a.parts[n] + b.parts[n])
EQUINET_PACK_OPERATOR(EQUINET_PACK, *, EQUINET_PACK, a.parts[n] * b.parts[n])
EQUINET_PACK_OPERATOR(T, *, EQUINET_PACK, a* b.parts[n])
#undef EQUINET_PACK
#undef EQUINET_PACK_OPERATOR

// Access<V, T> reads and writes a V of T: T itself (for the channels that fill no vector), a Vec, or a Pack, part by part.
// Addresses need no alignment beyond that of T.
template <class V, class T>
struct Access {
    typedef V Unaligned __attribute__((aligned(alignof(T)), may_alias));
    static inline V load(const T* address) { return *reinterpret_cast<const Unaligned*>(address); }
    static inline void store(T* address, const V& value) { *reinterpret_cast<Unaligned*>(address) = value; }
};

template <class T, int Count>
struct Access<Pack<T, Count>, T> {
    static inline Pack<T, Count> load(const T* address) {
        Pack<T, Count> value;
        EQUINET_UNROLL
        for (int n = 0; n < Count; ++n) value.parts[n] = Access<Vec<T>, T>::load(address + n * kLanes<T>);
        return value;
    }
    static inline void store(T* address, const Pack<T, Count>& value) {
        EQUINET_UNROLL
        for (int n = 0; n < Count; ++n) Access<Vec<T>, T>::store(address + n * kLanes<T>, value.parts[n]);
    }
};

template <class V, class T>
inline V load(const T* address) {
    return Access<V, T>::load(address);
}

template <class V, class T>
inline void store(T* address, const V& value) {
    Access<V, T>::store(address, value);
}

inline void prefetch(const void* address) { __builtin_prefetch(address); }

// The sum of `Count` numbers that lie side by side, halves upon each other.
template <class T, int Count>
inline T sum_of(const T* numbers) {
    if constexpr (Count == 2) {
        return numbers[0] + numbers[1];
    } else {
        typedef T Half __attribute__((vector_size(Count / 2 * sizeof(T))));
        T halves[Count / 2];
        store(halves, load<Half>(numbers) + load<Half>(numbers + Count / 2));
        return sum_of<T, Count / 2>(halves);
    }
}

template <class T>
inline T sum_of_lanes(const T* lanes) {
    return sum_of<T, kLanes<T>>(lanes);
}

}  // namespace equinet
