// pair_style equinet: potentials exported by `equinet export --to lammps`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pair.h"

namespace LAMMPS_NS {

class PairEquinet : public Pair {
public:
    explicit PairEquinet(class LAMMPS* lmp);
    ~PairEquinet() override;

    void settings(int narg, char** arg) override;
    void coeff(int narg, char** arg) override;
    void init_style() override;
    double init_one(int i, int j) override;
    void compute(int eflag, int vflag) override;
    double memory_usage() override;

    int pack_forward_comm(int n, int* list, double* buffer, int pbc_flag, int* pbc) override;
    void unpack_forward_comm(int n, int first, double* buffer) override;
    int pack_reverse_comm(int n, int first, double* buffer) override;
    void unpack_reverse_comm(int n, int* list, double* buffer) override;

private:
    struct Model;   // a loaded file; torch stays out of this header
    struct Result;  // what it says of the atoms here
    struct Host;    // fetches the features of ghosts for the library of operators

    // Rows of atoms that the next communication carries.
    struct Rows {
        char* data = nullptr;
        int bytes = 0;  // of an element: 4 or 8
        int columns = 0;
        int doubles() const { return (columns * bytes + 7) / 8; }
    };

    void allocate();
    void number_atoms();
    void find_edges();
    Result evaluate(Model& model, bool moments);
    void add(const Result& result, int eflag, int vflag);
    void write_deviations(const std::vector<Result>& results);
    void refuse_wrong_heat_flux();
    char* row(int atom) const;  // null for an atom that the model does not see
    void copy_row(int atom, double* to) const;

    std::vector<std::unique_ptr<Model>> models_;
    std::unique_ptr<Host> host_;
    Rows rows_;

    std::vector<int> elements_;           // atomic number of each type, 0 for NULL
    double energy_unit_ = 1.0;            // of LAMMPS, in eV
    std::vector<int> atoms_;              // LAMMPS's index of each atom that the model sees, owned ones first
    std::vector<int> number_of_;          // the inverse, -1 for those it does not see
    int owned_ = 0;                       // how many of them are owned
    std::vector<int64_t> senders_, receivers_;

    std::string deviations_path_ = "model_devi.out";
    int deviations_every_ = 100;
    FILE* deviations_ = nullptr;
};

}  // namespace LAMMPS_NS
