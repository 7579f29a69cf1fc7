#include "groups.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace equinet::cuda {

namespace {

// Shared memory of a warp, at most, if its paths can be divided so: leaves room for nine on a multiprocessor of an H100.
constexpr int kSharedBytes = 24576;
constexpr int kMatrixBytes = 6144;  // of these for the matrices of its edges

// Channels of a lane for which kernels are compiled: as many as registers allow, 4 of float at most.
int most_vectors(Level level, int d1, int itemsize) {
    if (d1 > 7) return 1;
    const int most = level == Level::kDoubleBackward && d1 > 3 ? 2 : 4;
    return itemsize == 8 ? most / 2 : most;
}

using Parts = std::vector<std::pair<int, int>>;  // first path and number of paths

// Paths first..last-1 in groups of no more rows than room.
Parts filled(const ConvPlan& plan, int first, int last, int room) {
    Parts parts;
    int left = 0;
    for (int p = first; p < last; ++p) {
        if (plan.paths[p].d3 > left) {
            parts.emplace_back(p, 0);
            left = room;
        }
        ++parts.back().second;
        left -= plan.paths[p].d3;
    }
    return parts;
}

// As few groups as possible, and of these even ones: a group's registers follow from its rows.
Parts divided(const ConvPlan& plan, int first, int last, int room) {
    Parts parts = filled(plan, first, last, room);
    while (room > 1) {
        Parts smaller = filled(plan, first, last, room - 1);
        const bool fits = std::all_of(plan.paths.begin() + first, plan.paths.begin() + last,
                                      [&](const ConvPath& path) { return path.d3 < room; });
        if (!fits || smaller.size() > parts.size()) break;
        parts = std::move(smaller);
        --room;
    }
    return parts;
}

Group make_group(const ConvPlan& plan, Level level, int first, int paths, int vectors, int itemsize) {
    const ConvPath& path = plan.paths[first];
    Group group{};
    group.d1 = path.d1;
    group.channels = path.channels;
    group.x_offset = static_cast<int>(path.x_offset);
    group.w_offset = static_cast<int>(path.w_offset);
    group.first_path = first;
    group.paths = paths;
    group.diagonal = path.diagonal;
    group.opens_block = path.opens_block;
    group.vectors = vectors;
    group.tiles = (path.channels + kWarp * vectors - 1) / (kWarp * vectors);
    for (int p = first; p < first + paths; ++p) {
        group.components.push_back(static_cast<unsigned char>(plan.paths[p].d3));
        group.rows += plan.paths[p].d3;
    }
    group.elements = group.full_rows() * group.d1 + group.diagonal;
    const int step = 16 / itemsize;
    group.b_size = (group.full_rows() * row_stride(group.d1, itemsize) + group.diagonal + step - 1) / step * step;

    const int matrices = level == Level::kDoubleBackward ? 2 : 1;
    const int moments = level == Level::kForward ? 0 : group.elements;
    const int edge_bytes = (matrices * group.b_size + moments) * itemsize;
    group.edges = std::max(2, std::min(kMostEdges, kMatrixBytes / edge_bytes));
    const int values = static_cast<int>(level);  // of a receiver: none, g, or g and its gradient
    const int staged = 2 * matrices * (group.d1 + paths);  // rows of two edges' x and w
    group.shared_bytes = (staged + values * group.rows) * vectors * kWarp * itemsize + group.edges * edge_bytes;
    return group;
}

// Instructions of an edge, roughly: a lane reads an entry of B once for all of its channels. Every group reads x again and,
// backwards, reads and writes dx once more: these count as what a warp computes in the same time.
int64_t cost(const std::vector<Group>& groups, Level level) {
    const int64_t again = level == Level::kForward ? 10 : 60;
    int64_t sum = 0;
    for (const Group& g : groups) sum += g.tiles * (int64_t{g.elements} * (1 + g.vectors) + again * g.d1 * g.vectors);
    return sum;
}

// The fewest groups of paths first..last-1, which share a block of x, that fit into shared memory.
std::vector<Group> fitting_groups(const ConvPlan& plan, Level level, int first, int last, int vectors, int itemsize) {
    int widest = 0;
    for (int p = first; p < last; ++p) widest = std::max(widest, plan.paths[p].d3);
    for (int rows = level == Level::kForward ? kMostForwardRows : kMostRows;; --rows) {
        std::vector<Group> groups;
        for (const auto& [start, paths] : divided(plan, first, last, rows))
            groups.push_back(make_group(plan, level, start, paths, vectors, itemsize));
        const auto fits = [](const Group& group) { return group.shared_bytes <= kSharedBytes; };
        if (rows == widest || std::all_of(groups.begin(), groups.end(), fits)) return groups;
    }
}

std::vector<Group> groups_of_block(const ConvPlan& plan, Level level, int first, int last, int itemsize) {
    std::vector<Group> best;
    for (int vectors = 1; vectors <= most_vectors(level, plan.paths[first].d1, itemsize); vectors *= 2) {
        std::vector<Group> groups = fitting_groups(plan, level, first, last, vectors, itemsize);
        if (best.empty() || cost(groups, level) < cost(best, level)) best = std::move(groups);
    }
    return best;
}

template <class Item>
std::size_t append(std::vector<unsigned char>& bytes, const std::vector<Item>& items) {
    const std::size_t start = (bytes.size() + 15) / 16 * 16;
    bytes.resize(start + items.size() * sizeof(Item));
    if (!items.empty()) std::memcpy(bytes.data() + start, items.data(), items.size() * sizeof(Item));
    return start;
}

template <class T>
TableOffsets append_tables(const ConvPlan& plan, const Group& group, std::vector<unsigned char>& bytes) {
    std::vector<Element<T>> elements(group.elements, Element<T>{});
    std::vector<std::vector<Coupling<T>>> by_j(plan.y_dim);
    std::vector<int> columns, starts{0}, found(group.elements, 0);
    const auto add = [&](int b, const Coupling<double>& coupling) {
        if (found[b] == 2) throw std::logic_error("three harmonics meet in one entry of B");
        const T value = static_cast<T>(coupling.value);
        elements[b].value[found[b]] = value;
        elements[b].j[found[b]++] = coupling.j;
        by_j[coupling.j].push_back({b, coupling.j, value});
    };
    int row = group.diagonal ? -group.d1 : 0;  // among those that B has
    for (int p = group.first_path; p < group.first_path + group.paths; ++p) {
        const ConvPath& path = plan.paths[p];
        for (int n = plan.path_couplings[p]; n < plan.path_couplings[p + 1]; ++n) {
            const Coupling<double>& coupling = plan.doubles.by_j[n];
            const int b = coupling.b - path.b_offset;
            if (row < 0) {
                if (b == 0) add(group.elements - 1, coupling);
            } else {
                add(row * group.d1 + (path.diagonal ? b * group.d1 + b : b), coupling);
            }
        }
        for (int k = 0; k < path.d3; ++k) columns.push_back(static_cast<int>(path.out_offset + k * path.out_stride));
        row += path.d3;
    }
    std::vector<Coupling<T>> couplings;
    for (const auto& list : by_j) {
        couplings.insert(couplings.end(), list.begin(), list.end());
        starts.push_back(static_cast<int>(couplings.size()));
    }
    TableOffsets offsets{};
    offsets.elements = append(bytes, elements);
    offsets.columns = append(bytes, columns);
    offsets.starts = append(bytes, starts);
    offsets.couplings = append(bytes, couplings);
    return offsets;
}

template <class T>
LevelPlan make_level(const ConvPlan& plan, Level level) {
    if (std::max({plan.x_dim, plan.w_dim, plan.out_dim}) > std::numeric_limits<int>::max() / 2)
        throw std::invalid_argument("a row of this convolution has more than 2^30 numbers");
    LevelPlan result{};
    const int count = static_cast<int>(plan.paths.size());
    for (int first = 0; first < count;) {
        int last = first + 1;
        while (last < count && !plan.paths[last].opens_block) ++last;
        for (Group& group : groups_of_block(plan, level, first, last, sizeof(T))) {
            result.offsets.push_back(append_tables<T>(plan, group, result.tables));
            result.tiles = std::max(result.tiles, group.tiles);
            result.groups.push_back(std::move(group));
        }
        first = last;
    }
    return result;
}

}  // namespace

template <class T>
const LevelPlan& level_plan(const std::string& spec, Level level) {
    static std::mutex mutex;
    static std::map<std::pair<std::string, Level>, std::unique_ptr<const LevelPlan>> plans;
    const std::lock_guard<std::mutex> lock(mutex);
    std::unique_ptr<const LevelPlan>& plan = plans[{spec, level}];
    if (!plan) plan = std::make_unique<const LevelPlan>(make_level<T>(conv_plan(spec), level));
    return *plan;
}

template const LevelPlan& level_plan<float>(const std::string&, Level);
template const LevelPlan& level_plan<double>(const std::string&, Level);

std::string describe(const LevelPlan& plan) {
    std::string text;
    const auto add = [&](const char* name, int value) { text += std::string(" ") + name + "=" + std::to_string(value); };
    for (const Group& group : plan.groups) {
        add("first_path", group.first_path);
        add("paths", group.paths);
        add("d1", group.d1);
        add("channels", group.channels);
        add("rows", group.rows);
        add("vectors", group.vectors);
        add("tiles", group.tiles);
        add("elements", group.elements);
        add("edges", group.edges);
        add("shared_bytes", group.shared_bytes);
        text += "\n";
    }
    return text;
}

}  // namespace equinet::cuda
