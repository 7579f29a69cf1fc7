// Tasks over the threads of the host.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

namespace equinet {

// The entry point of the OpenMP runtime: GOMP_parallel of libgomp, which libomp and libiomp5 offer too.
using ParallelRegion = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);

void set_parallel_region(ParallelRegion region);
void run_on_threads(int threads, void (*body)(void*), void* data);

// Calls make_worker() once in each thread, and the worker it returns once for every task 0..tasks-1, each in one
// thread or another. What a task computes must not depend on which. An exception ends the loop and is thrown again.
template <class MakeWorker>
void parallel_for(int64_t tasks, int threads, const MakeWorker& make_worker) {
    struct Shared {
        std::atomic<int64_t> next{0};
        int64_t tasks;
        const MakeWorker* make_worker;
        std::atomic<bool> failed{false};
        std::exception_ptr error;
    } shared;
    shared.tasks = tasks;
    shared.make_worker = &make_worker;
    auto body = [](void* data) {
        Shared& shared = *static_cast<Shared*>(data);
        try {
            int64_t task = shared.next++;
            if (task >= shared.tasks) return;
            auto worker = (*shared.make_worker)();
            for (; task < shared.tasks && !shared.failed; task = shared.next++) worker(task);
        } catch (...) {
            if (!shared.failed.exchange(true)) shared.error = std::current_exception();
        }
    };
    if (threads > tasks) threads = static_cast<int>(tasks);
    if (threads <= 1)
        body(&shared);
    else
        run_on_threads(threads, body, &shared);
    if (shared.failed) std::rethrow_exception(shared.error);
}

}  // namespace equinet
