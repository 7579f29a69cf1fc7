// Energy and forces of a structure from an exported model, in plain C++: see CMakeLists.txt, and export it with
// `equinet export model.safetensors --to torchscript -o model.pt`. With --operators library, name libequinet_ops.so
// third.
#include <dlfcn.h>
#include <torch/script.h>

#include <fstream>
#include <iostream>
#include <sstream>

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: energy MODEL STRUCTURE.extxyz [libequinet_ops.so]");
    if (argc > 3 && !dlopen(argv[3], RTLD_NOW | RTLD_GLOBAL)) throw std::runtime_error(dlerror());
    torch::jit::Module model = torch::jit::load(argv[1]);
    const double cutoff = model.attr("cutoff").toDouble();

    // extended XYZ: number of atoms; Lattice="9 numbers", if there is one; then symbol, x, y, z in each line
    std::ifstream file(argv[2]);
    int64_t atoms = 0;
    std::string line, symbol;
    file >> atoms;
    file.ignore(1000, '\n');
    if (!std::getline(file, line) || atoms < 1) throw std::runtime_error(std::string(argv[2]) + " is no extended XYZ");
    auto cell = torch::zeros({1, 3, 3}, torch::kDouble), positions = torch::empty({atoms, 3}, torch::kDouble);
    const auto lattice = line.find("Lattice=\"");
    const bool periodic = lattice != std::string::npos;
    std::istringstream numbers_of_cell(periodic ? line.substr(lattice + 9) : "");
    for (int k = 0; k < (periodic ? 9 : 0); ++k) numbers_of_cell >> cell.data_ptr<double>()[k];
    std::vector<int64_t> elements;
    for (int64_t i = 0; i < atoms && std::getline(file, line); ++i) {
        std::istringstream row(line);
        double* r = positions.data_ptr<double>() + 3 * i;
        row >> symbol >> r[0] >> r[1] >> r[2];
        elements.push_back(model.run_method("atomic_number", symbol).toInt());
    }

    // all pairs, and all periodic images that may be near enough: good for small structures
    int64_t reach[3] = {0, 0, 0};
    if (periodic) {
        const auto heights = 1.0 / torch::linalg_inv(cell[0]).square().sum(0).sqrt();
        for (int k = 0; k < 3; ++k) reach[k] = static_cast<int64_t>(std::ceil(cutoff / heights[k].item<double>())) + 1;
    }
    std::vector<int64_t> senders, receivers, images;
    const double *r = positions.data_ptr<double>(), *h = cell.data_ptr<double>();
    for (int64_t i = 0; i < atoms; ++i)
        for (int64_t j = 0; j < atoms; ++j)
            for (int64_t a = -reach[0]; a <= reach[0]; ++a)
                for (int64_t b = -reach[1]; b <= reach[1]; ++b)
                    for (int64_t c = -reach[2]; c <= reach[2]; ++c) {
                        double squared = 0.0;
                        for (int k = 0; k < 3; ++k)
                            squared += std::pow(r[3 * j + k] - r[3 * i + k] + a * h[k] + b * h[3 + k] + c * h[6 + k], 2);
                        if (squared >= cutoff * cutoff || (i == j && !a && !b && !c)) continue;
                        senders.push_back(j), receivers.push_back(i), images.insert(images.end(), {a, b, c});
                    }
    const auto edges = static_cast<int64_t>(senders.size());
    const auto results = model
        .forward({positions, torch::tensor(elements), cell, torch::full({1, 3}, periodic),
                  torch::zeros({atoms}, torch::kLong), torch::tensor(senders, torch::kLong), torch::tensor(receivers, torch::kLong),
                  torch::tensor(images, torch::kLong).reshape({edges, 3})})
        .toGenericDict();
    std::cout.precision(15);
    std::cout << "energy (eV): " << results.at("energy").toTensor().item<double>() << "\nforces (eV/Angstrom):\n";
    const auto forces = results.at("forces").toTensor().contiguous();
    for (int64_t i = 0; i < atoms; ++i)
        for (int k = 0; k < 3; ++k) std::cout << forces.data_ptr<double>()[3 * i + k] << (k < 2 ? ' ' : '\n');
    return 0;
} catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();  // of a script, its own words come last
    std::cerr << "error: " << text.substr(text.rfind("Error: ") == std::string::npos ? 0 : text.rfind("Error: ") + 7);
    return 1;
} catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
}
