// The kernels that are compiled, and the one that fits a group.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "warp.cuh"

namespace equinet::cuda {

template <class T>
Kernel<T> forward_kernel(const Group& group);
template <class T>
Kernel<T> backward_kernel(const Group& group);
template <class T>
Kernel<T> double_backward_kernel(const Group& group);

// Calls choice(d1, vectors), integral constants with the values of the group, for what groups.cpp may ask for: channels of
// a lane up to Most of float for degrees 0 and 1, MostAbove for 2 and 3, half of that of double, and one for higher degrees.
template <class T, int Most, int MostAbove, class Choice>
Kernel<T> choose_kernel(const Group& group, const Choice& choice) {
    const auto with_vectors = [&](auto d1) -> Kernel<T> {
        constexpr int kMost = d1() > 7 ? 1 : (d1() > 3 ? MostAbove : Most) / (sizeof(T) == 8 ? 2 : 1);
        if (group.vectors == 1) return choice(d1, std::integral_constant<int, 1>());
        if constexpr (kMost >= 2)
            if (group.vectors == 2) return choice(d1, std::integral_constant<int, 2>());
        if constexpr (kMost >= 4)
            if (group.vectors == 4) return choice(d1, std::integral_constant<int, 4>());
        throw std::logic_error("no kernel for so many channels of a lane");
    };
    switch (group.d1) {
        case 1: return with_vectors(std::integral_constant<int, 1>());
        case 3: return with_vectors(std::integral_constant<int, 3>());
        case 5: return with_vectors(std::integral_constant<int, 5>());
        case 7: return with_vectors(std::integral_constant<int, 7>());
        case 9: return with_vectors(std::integral_constant<int, 9>());
        case 11: return with_vectors(std::integral_constant<int, 11>());
        case 13: return with_vectors(std::integral_constant<int, 13>());
    }
    throw std::logic_error("no kernel for this degree");
}

}  // namespace equinet::cuda
