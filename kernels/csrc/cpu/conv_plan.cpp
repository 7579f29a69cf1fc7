#include "conv_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "coupling.h"

namespace equinet {

namespace {

struct Irrep {
    int channels, l, parity;
};

[[noreturn]] void refuse(const std::string& spec) {
    throw std::invalid_argument("not a convolution spec: '" + spec + "'");
}

// The text between two separators, and the position moved behind it.
std::string take(const std::string& text, std::size_t& position, char separator) {
    position = std::min(position, text.size());
    const std::size_t end = std::min(text.find(separator, position), text.size());
    std::string part = text.substr(position, end - position);
    position = end + 1;
    return part;
}

int parity_of(char letter, const std::string& spec) {
    if (letter != 'e' && letter != 'o') refuse(spec);
    return letter == 'e' ? 1 : -1;
}

std::vector<Irrep> parse_layout(const std::string& text, const std::string& spec) {
    std::vector<Irrep> blocks;
    for (std::size_t position = 0; position < text.size();) {
        const std::string term = take(text, position, '+');
        int channels, l;
        char letter;
        if (std::sscanf(term.c_str(), "%dx%d%c", &channels, &l, &letter) != 3) refuse(spec);
        if (channels < 1 || l < 0 || l > kMaxDegree) refuse(spec);
        blocks.push_back({channels, l, parity_of(letter, spec)});
    }
    return blocks;
}

struct PathText {
    int block, l2, l3, parity;
};

std::vector<PathText> parse_paths(const std::string& text, const std::string& spec) {
    std::vector<PathText> paths;
    for (std::size_t position = 0; position < text.size();) {
        const std::string term = take(text, position, ',');
        PathText path;
        char letter;
        if (std::sscanf(term.c_str(), "%d.%d.%d%c", &path.block, &path.l2, &path.l3, &letter) != 4) refuse(spec);
        path.parity = parity_of(letter, spec);
        paths.push_back(path);
    }
    return paths;
}

std::vector<Coupling<float>> rounded(const std::vector<Coupling<double>>& exact) {
    std::vector<Coupling<float>> result;
    for (const Coupling<double>& c : exact) result.push_back({c.b, c.j, static_cast<float>(c.value)});
    return result;
}

ConvPlan make_plan(const std::string& spec) {
    std::size_t position = 0;
    if (take(spec, position, ';') != "uvu") refuse(spec);
    const std::string x_text = take(spec, position, ';'), l_text = take(spec, position, ';');
    const std::string path_text = take(spec, position, ';');
    if (x_text.rfind("x=", 0) || l_text.rfind("l_max=", 0) || path_text.rfind("paths=", 0)) refuse(spec);
    const std::vector<Irrep> x = parse_layout(x_text.substr(2), spec);
    const int l_max = std::atoi(l_text.c_str() + 6);
    const std::vector<PathText> paths = parse_paths(path_text.substr(6), spec);
    if (x.empty() || paths.empty() || l_max < 0 || l_max > kMaxDegree) refuse(spec);

    ConvPlan plan{};
    std::vector<int64_t> x_offsets;
    for (const Irrep& block : x) {
        x_offsets.push_back(plan.x_dim);
        plan.x_dim += static_cast<int64_t>(2 * block.l + 1) * block.channels;
    }
    plan.y_dim = (l_max + 1) * (l_max + 1);

    // output blocks are ordered by (l, parity), odd before even; the paths of one lie side by side in its channels
    std::map<std::pair<int, int>, int64_t> widths, offsets, filled;
    for (const PathText& path : paths) {
        if (path.block < 0 || path.block >= static_cast<int>(x.size()) || path.l2 < 0 || path.l2 > l_max) refuse(spec);
        const int l1 = x[path.block].l;
        if (path.l3 < std::abs(l1 - path.l2) || path.l3 > l1 + path.l2 || path.l3 > kMaxDegree) refuse(spec);
        widths[{path.l3, path.parity}] += x[path.block].channels;
    }
    for (const auto& [irrep, width] : widths) {
        offsets[irrep] = plan.out_dim;
        plan.out_dim += (2 * irrep.first + 1) * width;
    }

    plan.path_couplings.push_back(0);
    for (const PathText& text : paths) {
        const Irrep& block = x[text.block];
        const std::pair<int, int> target{text.l3, text.parity};
        ConvPath path{};
        path.d1 = 2 * block.l + 1;
        path.d3 = 2 * text.l3 + 1;
        path.diagonal = text.l2 == 0;
        path.channels = block.channels;
        path.x_offset = x_offsets[text.block];
        path.opens_block = plan.paths.empty() || plan.paths.back().x_offset != path.x_offset;
        path.w_offset = plan.w_dim;
        path.out_offset = offsets[target] + filled[target];
        path.out_stride = widths[target];
        path.b_offset = plan.b_dim;
        path.b_size = path.diagonal ? path.d1 : path.d1 * path.d3;
        filled[target] += block.channels;
        plan.w_dim += block.channels;
        plan.b_dim += path.b_size;
        plan.max_moments = std::max(plan.max_moments, path.b_size);
        plan.max_rows = std::max<int64_t>(plan.max_rows, static_cast<int64_t>(path.d1) * path.channels);
        plan.paths.push_back(path);

        const std::vector<double> table = clebsch_gordan(block.l, text.l2, text.l3);
        const int d2 = 2 * text.l2 + 1;
        const double scale = std::sqrt(path.d3);
        for (int j = 0; j < d2; ++j)
            for (int k = 0; k < path.d3; ++k)
                for (int i = 0; i < path.d1; ++i) {
                    const double value = table[static_cast<std::size_t>((i * d2 + j) * path.d3 + k)] * scale;
                    if (value == 0.0) continue;
                    const int b = path.b_offset + (path.diagonal ? i : k * path.d1 + i);
                    plan.doubles.by_j.push_back({b, text.l2 * text.l2 + j, value});
                }
        plan.path_couplings.push_back(static_cast<int>(plan.doubles.by_j.size()));
    }
    std::vector<bool> used(x.size());
    for (const PathText& path : paths) used[path.block] = true;
    plan.unused_blocks = std::find(used.begin(), used.end(), false) != used.end();
    plan.doubles.by_b = plan.doubles.by_j;
    std::stable_sort(plan.doubles.by_b.begin(), plan.doubles.by_b.end(),
                     [](const Coupling<double>& a, const Coupling<double>& b) { return a.b < b.b; });
    plan.floats = {rounded(plan.doubles.by_b), rounded(plan.doubles.by_j)};
    return plan;
}

}  // namespace

const ConvPlan& conv_plan(const std::string& spec) {
    static std::mutex mutex;
    static std::unordered_map<std::string, std::unique_ptr<const ConvPlan>> plans;
    const std::lock_guard<std::mutex> lock(mutex);
    std::unique_ptr<const ConvPlan>& plan = plans[spec];
    if (!plan) plan = std::make_unique<const ConvPlan>(make_plan(spec));
    return *plan;
}

}  // namespace equinet
