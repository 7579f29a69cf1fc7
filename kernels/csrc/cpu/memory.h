// Large results into large pages.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace equinet {

// Asks for pages of 2 MiB behind an array that is about to be written. Memory fresh from the system is handed out page by
// page when it is first touched; in pages of 4 KiB that takes longer than computing what goes there. A wish, not more.
inline void prefer_large_pages(void* array, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t kPage = std::uintptr_t{1} << 21;
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(array);
    const std::uintptr_t begin = (address + kPage - 1) / kPage * kPage, end = (address + bytes) / kPage * kPage;
    if (array && end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)array, (void)bytes;
#endif
}

}  // namespace equinet
