#include "parallel.h"

#include <thread>
#include <vector>

namespace equinet {

namespace {
std::atomic<ParallelRegion> region{nullptr};
}

void set_parallel_region(ParallelRegion given) { region = given; }

// With the host's OpenMP runtime the threads are those the host computes with already: nothing is started, and no two
// pools fight for the cores. Without one, threads are started for each call.
void run_on_threads(int threads, void (*body)(void*), void* data) {
    if (ParallelRegion parallel = region.load()) {
        parallel(body, data, static_cast<unsigned>(threads), 0);
        return;
    }
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(body, data);
    body(data);
    for (std::thread& other : others) other.join();
}

}  // namespace equinet
