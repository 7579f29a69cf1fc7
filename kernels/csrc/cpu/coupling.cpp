#include "coupling.h"

#include <algorithm>
#include <cmath>
#include <complex>

namespace equinet {

namespace {

double factorial(int n) {
    double product = 1.0;
    for (int i = 2; i <= n; ++i) product *= i;
    return product;
}

double sign(int n) { return n % 2 ? -1.0 : 1.0; }

// <j1 m1 j2 m2 | j3 m3> by Racah's formula (Phys. Rev. 62, 438 (1942)).
double complex_coupling(int j1, int m1, int j2, int m2, int j3, int m3) {
    const auto f = factorial;
    double prefactor = (2 * j3 + 1) * f(j3 + j1 - j2) * f(j3 - j1 + j2) * f(j1 + j2 - j3) / f(j1 + j2 + j3 + 1);
    prefactor *= f(j3 + m3) * f(j3 - m3) * f(j1 - m1) * f(j1 + m1) * f(j2 - m2) * f(j2 + m2);
    const int first = std::max({0, j2 - j3 - m1, j1 - j3 + m2});
    const int last = std::min({j1 + j2 - j3, j1 - m1, j2 + m2});
    double total = 0.0;
    for (int k = first; k <= last; ++k)
        total += sign(k) / (f(k) * f(j1 + j2 - j3 - k) * f(j1 - m1 - k) * f(j2 + m2 - k) * f(j3 - j2 + m1 + k) *
                            f(j3 - j1 - m2 + k));
    return std::sqrt(prefactor) * total;
}

using Complex = std::complex<double>;

// What complex component m of degree l takes from real component r, both -l..l; the phase (-i)^l makes the coupling
// constants real.
Complex real_to_complex(int l, int m, int r) {
    static const Complex phases[] = {{1, 0}, {0, -1}, {-1, 0}, {0, 1}};
    if (std::abs(m) != std::abs(r)) return 0.0;
    const double root = std::sqrt(0.5), odd = sign(m);
    Complex value;
    if (m == 0)
        value = 1.0;
    else if (m < 0)
        value = r > 0 ? Complex(root, 0) : Complex(0, -root);
    else
        value = r > 0 ? Complex(odd * root, 0) : Complex(0, odd * root);
    return phases[l % 4] * value;
}

}  // namespace

std::vector<double> clebsch_gordan(int l1, int l2, int l3) {
    const int d1 = 2 * l1 + 1, d2 = 2 * l2 + 1, d3 = 2 * l3 + 1;
    std::vector<double> real(static_cast<std::size_t>(d1 * d2 * d3), 0.0);
    double square = 0.0;
    for (int r1 = -l1; r1 <= l1; ++r1)
        for (int r2 = -l2; r2 <= l2; ++r2)
            for (int r3 = -l3; r3 <= l3; ++r3) {
                Complex total = 0.0;
                for (int m1 : {-r1, r1})
                    for (int m2 : {-r2, r2}) {
                        const int m3 = m1 + m2;
                        if (std::abs(m3) != std::abs(r3) || (r1 == 0 && m1 != 0) || (r2 == 0 && m2 != 0)) continue;
                        Complex term = real_to_complex(l1, m1, r1) * real_to_complex(l2, m2, r2) *
                                       std::conj(real_to_complex(l3, m3, r3)) * complex_coupling(l1, m1, l2, m2, l3, m3);
                        total += term * (r1 == 0 ? 0.5 : 1.0) * (r2 == 0 ? 0.5 : 1.0);  // 0 and -0 are one component
                    }
                const double value = std::abs(total.real()) < 1e-14 ? 0.0 : total.real();
                real[static_cast<std::size_t>(((r1 + l1) * d2 + r2 + l2) * d3 + r3 + l3)] = value;
                square += value * value;
            }
    for (double& value : real) value /= std::sqrt(square);
    return real;
}

}  // namespace equinet
