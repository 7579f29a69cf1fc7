// What `plugin load` calls. LAMMPS's own lammpsplugin.h is not among the headers that it installs, so that the few
// declarations of its documented interface (docs.lammps.org/Developer_plugins.html) stand here.
#include "lammps.h"
#include "pair_equinet.h"

namespace {

struct Plugin {
    const char* version;
    const char* style;
    const char* name;
    const char* info;
    const char* author;
    void* (*create)(void* lammps);
    void* handle;
};
using Register = void (*)(Plugin* plugin, void* lammps);

void* create(void* lammps) { return new LAMMPS_NS::PairEquinet(static_cast<LAMMPS_NS::LAMMPS*>(lammps)); }

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle, void* function) {
    Plugin plugin{static_cast<LAMMPS_NS::LAMMPS*>(lammps)->version,
                  "pair",
                  "equinet",
                  "potentials of equinet, also on several processes",
                  "the equinet developers",
                  &create,
                  handle};
    reinterpret_cast<Register>(function)(&plugin, lammps);
}
