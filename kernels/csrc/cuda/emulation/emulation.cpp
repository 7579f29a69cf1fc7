// Threads of a block as coroutines on one thread of the host: each runs until it waits for its warp, then the next one
// runs. When the first one's turn comes again, all have come as far.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <ucontext.h>
#include <vector>

#include "cuda_runtime.h"

dim3 threadIdx, blockIdx, gridDim;

namespace equinet::cuda {
alignas(16) unsigned char shared_memory[64 * 1024];  // what warp.cuh declares
}

namespace emulation {

namespace {

using equinet::cuda::shared_memory;

constexpr std::size_t kMostShared = 48 * 1024;  // what a kernel may have without asking for more
constexpr std::size_t kStack = 128 * 1024;
constexpr int kWarp = 32;
constexpr unsigned char kPoison = 0xff;  // NaN, in float and in double

struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    long group;
};

struct Thread {
    std::vector<char> stack = std::vector<char>(kStack);
    std::vector<Copy> copies;  // under way
    long groups;               // closed
    ucontext_t start;
    jmp_buf state;
    bool started, done;
    long waits;
};

// Where all lanes must be at their n-th wait, and what they gave there. A lane can be at most one wait ahead.
struct Wait {
    long number;
    const char* file;
    int line;
    std::uint64_t values[kWarp];
};

std::vector<Thread> threads;
int current, count;
bool reversed;
jmp_buf host;
std::string failure;
Wait waits[2];
void (*body)(const void*, const void*);
const void *kernel_of_launch, *argument_of_launch;

int next_of(int thread) { return (thread + (reversed ? count - 1 : 1)) % count; }

[[noreturn]] void fail(const std::string& message) {
    failure = message;
    longjmp(host, 1);
}

[[noreturn]] void run_thread(int thread) {
    current = thread;
    threadIdx = dim3(static_cast<unsigned>(thread));
    if (threads[thread].started) longjmp(threads[thread].state, 1);
    threads[thread].started = true;
    setcontext(&threads[thread].start);
    std::abort();
}

// Where a thread begins; it never returns, for nothing is below it on its stack.
void thread_main() {
    body(kernel_of_launch, argument_of_launch);
    Thread& self = threads[current];
    self.done = true;
    if (!self.copies.empty()) fail("copies that nobody waited for");
    for (int n = next_of(current), tried = 0; tried < count; n = next_of(n), ++tried)
        if (!threads[n].done) run_thread(n);
    for (const Thread& thread : threads)
        if (&thread < threads.data() + count && thread.waits != self.waits) fail("lanes waited different numbers of times");
    longjmp(host, 1);
}

void run_block(int number) {
    if (threads.size() < static_cast<std::size_t>(number)) threads.resize(number);
    count = number;
    for (Wait& wait : waits) wait.number = -1;
    for (int n = 0; n < count; ++n) {
        Thread& thread = threads[n];
        thread.started = thread.done = false;
        thread.waits = thread.groups = 0;
        thread.copies.clear();
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.data();
        thread.start.uc_stack.ss_size = kStack;
        thread.start.uc_link = nullptr;
        makecontext(&thread.start, thread_main, 0);
    }
    if (setjmp(host) == 0) run_thread(reversed ? count - 1 : 0);
}

}  // namespace

std::uint64_t exchange(std::uint64_t value, int from, const char* file, int line) {
    if (count != kWarp) fail("only blocks of one warp can wait");
    Thread& self = threads[current];
    const int lane = current;
    Wait& wait = waits[self.waits % 2];
    const auto text = [](const char* name, int number) { return std::string(name) + ":" + std::to_string(number); };
    if (wait.number != self.waits) {
        wait.number = self.waits, wait.file = file, wait.line = line;
    } else if (wait.line != line || wait.file != file) {
        fail("lanes wait at different places: " + text(file, line) + " and " + text(wait.file, wait.line));
    }
    wait.values[lane] = value;
    ++self.waits;
    const int next = next_of(lane);
    if (threads[next].done) fail("lanes wait at " + text(file, line) + " for one that has ended");
    if (setjmp(self.state) == 0) run_thread(next);
    return waits[(self.waits - 1) % 2].values[from];
}

void copy_async(void* to, const void* from, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(to) % bytes || reinterpret_cast<std::uintptr_t>(from) % bytes)
        fail("a copy to or from an address that is no multiple of its size");
    std::memset(to, kPoison, bytes);  // what was there is lost from now on
    threads[current].copies.push_back({to, from, bytes, threads[current].groups});
}

void close_copies() { ++threads[current].groups; }

void wait_for_copies(int latest) {
    Thread& self = threads[current];
    std::vector<Copy> left;
    for (const Copy& copy : self.copies)
        if (copy.group < self.groups - latest)
            std::memcpy(copy.to, copy.from, copy.bytes);
        else
            left.push_back(copy);
    self.copies.swap(left);
}

cudaError_t run(void (*thread)(const void*, const void*), const void* kernel, const void* argument, dim3 grid,
                dim3 block, std::size_t shared_bytes) {
    failure.clear();
    if (shared_bytes > kMostShared) failure = "too much shared memory: " + std::to_string(shared_bytes);
    if (grid.x == 0 || grid.y == 0 || grid.y > 65535) failure = "no such grid";
    body = thread, kernel_of_launch = kernel, argument_of_launch = argument;
    gridDim = grid;
    for (unsigned y = 0; y < grid.y && failure.empty(); ++y)
        for (unsigned x = 0; x < grid.x && failure.empty(); ++x) {
            blockIdx = dim3(x, y);
            std::memset(shared_memory, kPoison, sizeof(shared_memory));
            run_block(static_cast<int>(block.x));
            for (std::size_t n = shared_bytes; n < sizeof(shared_memory); ++n)
                if (shared_memory[n] != kPoison) failure = "a write behind the end of shared memory";
        }
    return failure.empty() ? cudaSuccess : cudaErrorUnknown;
}

}  // namespace emulation

extern "C" __attribute__((visibility("default"))) void equinet_emulation_reverse_lanes(int reverse) {
    emulation::reversed = reverse != 0;
}

const char* cudaGetErrorString(cudaError_t) { return emulation::failure.c_str(); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
    return *attributes = {cudaMemoryTypeDevice, 0}, cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) { return *memory = std::malloc(bytes), cudaSuccess; }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    return std::memcpy(to, from, bytes), cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height, cudaStream_t) {
    for (std::size_t n = 0; n < height; ++n) std::memset(static_cast<char*>(to) + n * pitch, value, width);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
