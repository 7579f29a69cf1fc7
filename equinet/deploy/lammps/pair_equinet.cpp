// One process evaluates the atoms that it owns; features of ghosts come from their owners between the layers of the
// network (kernels/csrc/torch/ghosts_host.h), so that it sees ghosts within one cutoff and no farther.
#include "pair_equinet.h"

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "atom.h"
#include "comm.h"
#include "compute.h"
#include "error.h"
#include "force.h"
#include "ghosts_host.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace {

constexpr double kKcalPerMol = 23.060549;  // in an eV, as LAMMPS converts its unit styles

// The first line of what torch says: the rest is its own stack.
std::string first_line(const std::exception& problem) {
    const auto* torch_problem = dynamic_cast<const c10::Error*>(&problem);
    std::string text = torch_problem ? torch_problem->what_without_backtrace() : problem.what();
    if (text.find("PytorchStreamReader") != std::string::npos)  // its words are of archives and records
        return "it was not written by equinet export --to lammps, or is damaged";
    const auto raised = text.rfind("RuntimeError: ");  // of a script: its own words come last
    if (raised != std::string::npos) text = text.substr(raised + 14);
    return text.substr(0, text.find('\n'));
}

// The members of LAMMPS's ComputeHeatFlux, whose header it does not install: compared before they are believed.
struct HeatFlux : Compute {
    char *id_ke, *id_pe, *id_stress;
    Compute *c_ke, *c_pe, *c_stress;
};

}  // namespace

struct PairEquinet::Model {
    std::string path;
    torch::jit::Module module;
    double cutoff;
    std::vector<int64_t> species;
    std::vector<std::string> elements;  // their symbols
    int widest;          // columns of the widest rows that are exchanged
    int exchanges_back;  // in each backward pass
};

struct PairEquinet::Result {
    at::Tensor energies, forces, virial, moments;
};

// Fetches ghosts' rows. In the backward passes of moments, the gradients that ghosts give back are of sums over
// r_i E_i, whose r_i are where this process sees atom i; an owner elsewhere sees them displaced. The difference is the
// displacement times the gradient of the energy, which an earlier pass gave back.
struct PairEquinet::Host {
    PairEquinet* pair;
    bool moments = false;
    int exchanges_back = 0;
    int calls_back = 0;
    std::vector<at::Tensor> energy_gradients;  // of ghosts, for each exchange
    at::Tensor displacements;                  // [G, 3], of ghosts from their owners

    static void fetch(void* context, void* rows, int64_t bytes, int64_t, int64_t, int64_t columns) {
        PairEquinet* pair = static_cast<Host*>(context)->pair;
        pair->rows_ = {static_cast<char*>(rows), static_cast<int>(bytes), static_cast<int>(columns)};
        pair->comm->forward_comm(pair, pair->rows_.doubles());
    }

    static void give_back(void* context, void* rows, int64_t bytes, int64_t owned, int64_t ghosts, int64_t columns) {
        Host& host = *static_cast<Host*>(context);
        if (host.moments) host.correct(rows, bytes, owned, ghosts, columns);
        ++host.calls_back;
        host.pair->rows_ = {static_cast<char*>(rows), static_cast<int>(bytes), static_cast<int>(columns)};
        host.pair->comm->reverse_comm(host.pair, host.pair->rows_.doubles());
    }

    void correct(void* rows, int64_t bytes, int64_t owned, int64_t ghosts, int64_t columns) {
        const auto dtype = bytes == 8 ? at::kDouble : at::kFloat;
        const at::Tensor all = at::from_blob(rows, {owned + ghosts, columns}, dtype);
        const at::Tensor own = all.narrow(0, owned, ghosts);
        if (calls_back < exchanges_back) {
            energy_gradients.push_back(own.clone());
        } else {
            const int axis = calls_back / exchanges_back - 1;
            const at::Tensor moved = displacements.select(1, axis).to(dtype).unsqueeze(1);
            own.sub_(moved * energy_gradients.at(calls_back % exchanges_back));
        }
    }
};

PairEquinet::PairEquinet(LAMMPS* lmp) : Pair(lmp), host_(std::make_unique<Host>()) {
    single_enable = 0;
    restartinfo = 0;
    one_coeff = 1;
    manybody_flag = 1;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_AVAIL;
    host_->pair = this;
}

PairEquinet::~PairEquinet() {
    if (deviations_) fclose(deviations_);
    if (allocated) {
        memory->destroy(setflag);
        memory->destroy(cutsq);
    }
}

void PairEquinet::allocate() {
    const int types = atom->ntypes + 1;
    memory->create(setflag, types, types, "pair:setflag");
    memory->create(cutsq, types, types, "pair:cutsq");
    allocated = 1;
}

// pair_style equinet FILE [FILE ...] [out_freq N] [out_file F]
void PairEquinet::settings(int narg, char** arg) {
    models_.clear();
    if (deviations_) fclose(deviations_);
    deviations_ = nullptr;
    deviations_every_ = 100;
    deviations_path_ = "model_devi.out";
    int next = 0;
    for (; next < narg && strcmp(arg[next], "out_freq") != 0 && strcmp(arg[next], "out_file") != 0; ++next) {
        auto model = std::make_unique<Model>();
        model->path = arg[next];
        if (!platform::file_is_readable(arg[next]))
            error->all(FLERR, "pair_style equinet: no file {}; give what equinet export --to lammps wrote", arg[next]);
        try {
            model->module = torch::jit::load(model->path, at::kCPU);
            model->module.eval();
            if (!model->module.hasattr("kind") || model->module.attr("kind").toStringRef() != "lammps")
                throw std::runtime_error("it was not exported with --to lammps");
            model->cutoff = model->module.attr("cutoff").toDouble();
            model->species = model->module.attr("species").toIntVector();
            for (const c10::IValue& symbol : model->module.attr("elements").toListRef())
                model->elements.push_back(symbol.toStringRef());
            model->widest = static_cast<int>(model->module.attr("exchanged").toInt());
            model->exchanges_back = static_cast<int>(model->module.attr("exchanges_back").toInt());
        } catch (const std::exception& problem) {
            error->all(FLERR, "pair_style equinet: {} cannot be used: {}", arg[next], first_line(problem));
        }
        // LAMMPS sizes its buffers by these; hybrid styles read them as soon as the settings are made
        comm_forward = comm_reverse = std::max({3, comm_forward, model->widest});
        models_.push_back(std::move(model));
    }
    if (models_.empty()) error->all(FLERR, "pair_style equinet needs a file: pair_style equinet model.pt");
    if (models_.size() == 1 && next < narg)
        error->all(FLERR, "pair_style equinet: {} needs two models or more, whose deviation is written", arg[next]);
    for (; next < narg; next += 2) {
        if (next + 1 == narg) error->all(FLERR, "pair_style equinet: {} needs a value", arg[next]);
        if (strcmp(arg[next], "out_freq") == 0)
            deviations_every_ = utils::inumeric(FLERR, arg[next + 1], false, lmp);
        else if (strcmp(arg[next], "out_file") == 0)
            deviations_path_ = arg[next + 1];
        else
            error->all(FLERR, "pair_style equinet: no keyword {}; there are out_freq and out_file", arg[next]);
    }
    if (deviations_every_ < 1) error->all(FLERR, "pair_style equinet: out_freq must be 1 or more");
    at::set_num_threads(std::max(1, comm->nthreads));
}

// pair_coeff * * ELEMENT|NULL ..., one for each type
void PairEquinet::coeff(int narg, char** arg) {
    if (!allocated) allocate();
    const int types = atom->ntypes;
    if (narg != types + 2 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
        error->all(FLERR, "pair_coeff of equinet: give * * and an element, or NULL, for each of the {} atom types",
                   types);
    elements_.assign(types + 1, 0);
    for (int type = 1; type <= types; ++type) {
        const std::string name = arg[type + 1];
        if (name == "NULL") continue;
        for (const auto& model : models_) {
            const auto found = std::find(model->elements.begin(), model->elements.end(), name);
            if (found == model->elements.end()) {
                std::string known;
                for (const std::string& symbol : model->elements) known += " " + symbol;
                error->all(FLERR, "pair_coeff of equinet: {} does not know '{}', only{}", model->path, name, known);
            }
            elements_[type] = static_cast<int>(model->species[found - model->elements.begin()]);
        }
    }
    for (int i = 1; i <= types; ++i)
        for (int j = 1; j <= types; ++j) setflag[i][j] = elements_[i] && elements_[j];
}

void PairEquinet::init_style() {
    const std::string style = update->unit_style;
    if (style == "metal") energy_unit_ = 1.0;
    else if (style == "real") energy_unit_ = kKcalPerMol;
    else error->all(FLERR, "pair_style equinet: units {} are not supported; use metal or real", style);
    if (!force->newton_pair)
        error->all(FLERR, "pair_style equinet needs newton on; forces on ghosts go to their owners");
    for (int k = 1; k <= 3; ++k)
        if (atom->nbonds > 0 && force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
            error->all(FLERR, "pair_style equinet: special_bonds hides pairs of bonded atoms from it; "
                              "set special_bonds lj/coul 1 1 1");
    neighbor->add_request(this, NeighConst::REQ_FULL);
    for (const auto& model : models_)
        if (model->cutoff != models_.front()->cutoff)
            error->all(FLERR, "pair_style equinet: {} has cutoff {}, {} has {}; a committee must share one",
                       model->path, model->cutoff, models_.front()->path, models_.front()->cutoff);
    if (models_.size() > 1 && comm->me == 0 && !deviations_) {
        deviations_ = fopen(deviations_path_.c_str(), "w");
        if (!deviations_) error->one(FLERR, "pair_style equinet: cannot write {}", deviations_path_);
        fprintf(deviations_, "#%11s%19s%19s%19s%19s%19s%19s\n", "step", "max_devi_v", "min_devi_v", "avg_devi_v",
                "max_devi_f", "min_devi_f", "avg_devi_f");
    }
}

double PairEquinet::init_one(int, int) { return models_.front()->cutoff; }

// The interactions' heat flux needs moments of each atom, which compute centroid/stress/atom takes, not its symmetric
// part alone (see the README); compute heat/flux would take either. Where its argument cannot be told, any is refused.
void PairEquinet::refuse_wrong_heat_flux() {
    const auto& all = modify->get_compute_list();
    const auto wrong = [&](const Compute* flux) {
        const Compute* stress = static_cast<const HeatFlux*>(flux)->c_stress;
        const bool known = std::find(all.begin(), all.end(), stress) != all.end();
        return !known || stress->pressatomflag != 2;  // 2: nine components
    };
    const auto fluxes = modify->get_compute_by_style("^heat/flux$");
    if (std::any_of(fluxes.begin(), fluxes.end(), wrong))
        error->all(FLERR, "compute heat/flux with compute stress/atom is wrong for many-body potentials; "
                          "give it compute centroid/stress/atom ID group NULL virial");
}

void PairEquinet::number_atoms() {
    const int all = atom->nlocal + atom->nghost;
    atoms_.clear();
    number_of_.assign(all, -1);
    for (int i = 0; i < all; ++i) {
        if (i == atom->nlocal) owned_ = static_cast<int>(atoms_.size());
        if (!elements_[atom->type[i]]) continue;
        number_of_[i] = static_cast<int>(atoms_.size());
        atoms_.push_back(i);
    }
    if (!atom->nghost) owned_ = static_cast<int>(atoms_.size());
}

void PairEquinet::find_edges() {
    senders_.clear();
    receivers_.clear();
    const double cutoff_squared = models_.front()->cutoff * models_.front()->cutoff;
    double** x = atom->x;
    for (int number = 0; number < owned_; ++number) {
        const int i = atoms_[number];
        const int* neighbors = list->firstneigh[i];
        for (int k = 0; k < list->numneigh[i]; ++k) {
            const int j = neighbors[k] & NEIGHMASK;
            const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
            if (dx * dx + dy * dy + dz * dz >= cutoff_squared || number_of_[j] < 0) continue;
            senders_.push_back(number_of_[j]);
            receivers_.push_back(number);
        }
    }
}

PairEquinet::Result PairEquinet::evaluate(Model& model, bool moments) {
    const auto count = static_cast<int64_t>(atoms_.size()), edges = static_cast<int64_t>(senders_.size());
    const at::Tensor positions = at::empty({count, 3}, at::kDouble), numbers = at::empty({count}, at::kLong);
    auto* position = positions.data_ptr<double>();
    auto* element = numbers.data_ptr<int64_t>();
    for (const int i : atoms_) {
        for (int axis = 0; axis < 3; ++axis) *position++ = atom->x[i][axis];
        *element++ = elements_[atom->type[i]];
    }
    host_->moments = moments;
    host_->exchanges_back = model.exchanges_back;
    host_->calls_back = 0;
    host_->energy_gradients.clear();
    if (moments) {  // where owners see themselves, carried unchanged across periodic boundaries
        at::Tensor origins = positions.clone();
        rows_ = {static_cast<char*>(origins.data_ptr()), 8, 3};
        comm->forward_comm(this, 3);
        host_->displacements = (positions - origins).narrow(0, owned_, count - owned_);
    }
    const struct Hosting {  // ends also where an error does not end the process
        explicit Hosting(Host* host) { equinet_set_ghost_host({host, &Host::fetch, &Host::give_back}); }
        ~Hosting() { equinet_set_ghost_host({}); }
    } hosting(host_.get());
    std::vector<torch::jit::IValue> inputs{positions, numbers,
                                           at::from_blob(senders_.data(), {edges}, at::kLong),
                                           at::from_blob(receivers_.data(), {edges}, at::kLong),
                                           static_cast<int64_t>(owned_), moments};
    try {
        const auto values = model.module.forward(std::move(inputs)).toTuple()->elements();
        const int expected = model.exchanges_back * (moments ? 4 : 1);
        if (host_->calls_back != expected)
            throw std::runtime_error("its layers exchanged features " + std::to_string(host_->calls_back) +
                                     " times, not " + std::to_string(expected));
        const Result result{values[0].toTensor(), values[1].toTensor(), values[2].toTensor(), values[3].toTensor()};
        if (!std::isfinite(result.energies.sum().item<double>()) || !std::isfinite(result.forces.sum().item<double>()))
            throw std::runtime_error("the energy or a force is not finite: two atoms are at one place, or atoms flew; "
                                     "look at the structure, shorten the timestep");
        return result;
    } catch (const std::exception& problem) {
        error->one(FLERR, "pair_style equinet: {} failed: {}", model.path, first_line(problem));
    }
}

void PairEquinet::compute(int eflag, int vflag) {
    ev_init(eflag, vflag);
    if (vflag_atom) refuse_wrong_heat_flux();
    number_atoms();
    find_edges();
    const bool deviations = models_.size() > 1 && update->ntimestep % deviations_every_ == 0;
    std::vector<Result> results;
    results.push_back(evaluate(*models_.front(), vflag_atom || cvflag_atom));
    add(results.front(), eflag, vflag);
    if (deviations) {
        for (size_t other = 1; other < models_.size(); ++other) results.push_back(evaluate(*models_[other], false));
        write_deviations(results);
    }
}

void PairEquinet::add(const Result& result, int eflag, int) {
    const double* energies = result.energies.const_data_ptr<double>();
    const at::Tensor forces = result.forces.contiguous(), moments = result.moments.contiguous();
    const double* force = forces.const_data_ptr<double>();
    for (const int i : atoms_)
        for (int axis = 0; axis < 3; ++axis) atom->f[i][axis] += energy_unit_ * *force++;
    if (eflag)
        for (int number = 0; number < owned_; ++number) {
            const double energy = energy_unit_ * energies[number];
            if (eflag_global) eng_vdwl += energy;
            if (eflag_atom) eatom[atoms_[number]] += energy;
        }
    if (vflag_global) {
        const auto w = result.virial.accessor<double, 2>();
        const double sums[6] = {w[0][0], w[1][1], w[2][2], 0.5 * (w[0][1] + w[1][0]), 0.5 * (w[0][2] + w[2][0]),
                                0.5 * (w[1][2] + w[2][1])};
        for (int k = 0; k < 6; ++k) virial[k] += energy_unit_ * sums[k];
    }
    if (vflag_atom || cvflag_atom) {
        const auto w = moments.accessor<double, 3>();
        for (size_t number = 0; number < atoms_.size(); ++number) {
            const auto m = w[static_cast<int64_t>(number)];
            const int i = atoms_[number];
            const double full[9] = {m[0][0], m[1][1], m[2][2], m[0][1], m[0][2], m[1][2], m[1][0], m[2][0], m[2][1]};
            if (cvflag_atom)
                for (int k = 0; k < 9; ++k) cvatom[i][k] += energy_unit_ * full[k];
            if (vflag_atom)
                for (int k = 0; k < 6; ++k)
                    vatom[i][k] += energy_unit_ * (k < 3 ? full[k] : 0.5 * (full[k] + full[k + 3]));
        }
    }
}

// Standard deviations over the models, as DeePMD-kit writes them: of the virial's components per atom, and of force
// vectors; in LAMMPS's units.
void PairEquinet::write_deviations(const std::vector<Result>& results) {
    std::vector<at::Tensor> forces;
    at::Tensor virials = at::zeros({static_cast<int64_t>(results.size()), 9}, at::kDouble);
    for (size_t k = 0; k < results.size(); ++k) {
        at::Tensor all = results[k].forces.contiguous().clone();
        rows_ = {static_cast<char*>(all.data_ptr()), 8, 3};
        comm->reverse_comm(this, 3);
        forces.push_back(all.narrow(0, 0, owned_));
        virials[static_cast<int64_t>(k)].copy_(results[k].virial.reshape({9}));
    }
    const int numbers = static_cast<int>(virials.numel());
    MPI_Allreduce(MPI_IN_PLACE, virials.data_ptr<double>(), numbers, MPI_DOUBLE, MPI_SUM, world);
    const at::Tensor stacked = at::stack(forces);  // [M, N, 3]
    const at::Tensor of_forces =
        energy_unit_ * (stacked - stacked.mean(0, true)).square().sum(2).mean(0).sqrt();  // [N]
    double extremes[2] = {0.0, HUGE_VAL}, sums[2] = {0.0, static_cast<double>(owned_)};
    if (owned_) {
        extremes[0] = of_forces.max().item<double>();
        extremes[1] = of_forces.min().item<double>();
        sums[0] = of_forces.sum().item<double>();
    }
    extremes[1] = -extremes[1];
    MPI_Allreduce(MPI_IN_PLACE, extremes, 2, MPI_DOUBLE, MPI_MAX, world);
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
    if (comm->me) return;
    const double atoms = std::max(sums[1], 1.0);
    const at::Tensor of_virial =
        energy_unit_ / atoms * (virials - virials.mean(0, true)).square().mean(0).sqrt();  // [9]
    fprintf(deviations_, BIGINT_FORMAT, update->ntimestep);
    for (const double value : {of_virial.max().item<double>(), of_virial.min().item<double>(),
                               of_virial.square().mean().sqrt().item<double>(), extremes[0], -extremes[1],
                               sums[0] / atoms})
        fprintf(deviations_, " %18.6e", value);
    fputc('\n', deviations_);
    fflush(deviations_);
}

char* PairEquinet::row(int atom) const {
    const int number = number_of_[atom];
    return number < 0 ? nullptr : rows_.data + static_cast<size_t>(number) * rows_.columns * rows_.bytes;
}

void PairEquinet::copy_row(int atom, double* to) const {
    if (const char* from = row(atom)) memcpy(to, from, rows_.columns * rows_.bytes);
}

int PairEquinet::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
    for (int k = 0; k < n; ++k) copy_row(list[k], buffer + static_cast<size_t>(k) * rows_.doubles());
    return n * rows_.doubles();
}

void PairEquinet::unpack_forward_comm(int n, int first, double* buffer) {
    for (int k = 0; k < n; ++k)
        if (char* to = row(first + k))
            memcpy(to, buffer + static_cast<size_t>(k) * rows_.doubles(), rows_.columns * rows_.bytes);
}

int PairEquinet::pack_reverse_comm(int n, int first, double* buffer) {
    for (int k = 0; k < n; ++k) copy_row(first + k, buffer + static_cast<size_t>(k) * rows_.doubles());
    return n * rows_.doubles();
}

namespace {

template <class Number>
void add_row(char* to, const double* from, int columns) {
    auto* sum = reinterpret_cast<Number*>(to);
    const auto* more = reinterpret_cast<const Number*>(from);
    for (int c = 0; c < columns; ++c) sum[c] += more[c];
}

}  // namespace

void PairEquinet::unpack_reverse_comm(int n, int* list, double* buffer) {
    const int doubles = rows_.doubles();
    for (int k = 0; k < n; ++k) {
        char* to = row(list[k]);
        if (!to) continue;
        const double* from = buffer + static_cast<size_t>(k) * doubles;
        if (rows_.bytes == 8) add_row<double>(to, from, rows_.columns);
        else add_row<float>(to, from, rows_.columns);
    }
}

double PairEquinet::memory_usage() {
    return Pair::memory_usage() + static_cast<double>(senders_.capacity() + receivers_.capacity()) * sizeof(int64_t);
}
