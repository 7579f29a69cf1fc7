// Energy and forces of a structure from an exported model, in plain C++: see CMakeLists.txt, and export it with
// `equinet export model.safetensors --to torchscript -o model.pt`. With --operators library, name libequinet_ops.so
// third.
#include <dlfcn.h>
#include <torch/script.h>

#include <fstream>
#include <iostream>
#include <regex>
#include <sstream>

double number(std::istream& text) {  // of a whole word: "1.0.5" is none
    std::string word;
    text >> word;
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (word.empty()) throw std::runtime_error("a number is missing");
    if (*end || !std::isfinite(value)) throw std::runtime_error("'" + word + "' is no number");
    return value;
}

std::istringstream entry(const std::string& line, const std::string& name) {  // what stands in NAME="..."
    std::smatch found;
    const std::regex pattern("(?:^|\\s)(" + name + ")\\s*=(\"([^\"]+)\")?", std::regex::icase);
    if (!std::regex_search(line, found, pattern)) return {};
    if (found[1] != name || !found[2].matched) throw std::runtime_error("write " + name + "=\"...\", spelled like this");
    return std::istringstream(found[3]);
}

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: energy MODEL STRUCTURE.extxyz [libequinet_ops.so]");
    if (argc > 3 && !dlopen(argv[3], RTLD_NOW | RTLD_GLOBAL)) throw std::runtime_error(dlerror());
    torch::jit::Module model = torch::jit::load(argv[1]);
    if (model.attr("kind").toStringRef() != "torchscript") throw std::runtime_error("the model is for LAMMPS");
    const double cutoff = model.attr("cutoff").toDouble();

    // extended XYZ: number of atoms; Lattice="9 numbers" and pbc="T T F", if they are there; symbol, x, y, z in each line
    std::ifstream file(argv[2]);
    int64_t atoms = 0;
    std::string line, symbol, periodic;
    file >> atoms;
    file.ignore(1000, '\n');
    if (!std::getline(file, line) || atoms < 1) throw std::runtime_error(std::string(argv[2]) + " is no extended XYZ");
    if (std::regex_search(line, std::regex("Properties=(?!\"?species:S:1:pos:R:3)")))
        throw std::runtime_error("the columns must begin with species:S:1:pos:R:3, not as Properties= says");
    auto cell = torch::zeros({1, 3, 3}, torch::kDouble), positions = torch::empty({atoms, 3}, torch::kDouble);
    auto pbc = torch::zeros({1, 3}, torch::kBool);
    std::istringstream lattice = entry(line, "Lattice"), directions = entry(line, "pbc");
    for (int k = 0; k < 3; ++k) {
        const bool given = static_cast<bool>(directions >> periodic);
        if (!directions.str().empty() && (!given || std::string("TtFf10").find(periodic[0]) == std::string::npos))
            throw std::runtime_error("pbc needs three of T and F");
        pbc[0][k] = given ? std::string("Tt1").find(periodic[0]) != std::string::npos : !lattice.str().empty();
        for (int axis = 0; axis < 3 && !lattice.str().empty(); ++axis) cell[0][k][axis] = number(lattice);
    }
    cell *= pbc.unsqueeze(2);  // open directions have no vector
    if (torch::linalg_matrix_rank(cell[0]).item<int64_t>() != pbc.sum().item<int64_t>())
        throw std::runtime_error("periodic directions need as many independent vectors in Lattice");
    std::vector<int64_t> elements;
    for (int64_t i = 0; i < atoms; ++i) {
        if (!std::getline(file, line)) throw std::runtime_error("rows of atoms are missing, there should be " + std::to_string(atoms));
        std::istringstream row(line);
        row >> symbol;
        for (int k = 0; k < 3; ++k) positions.data_ptr<double>()[3 * i + k] = number(row);
        elements.push_back(model.run_method("atomic_number", symbol).toInt());
    }

    // all pairs, and all periodic images that may be near enough, wherever atoms are: good for small structures
    const auto dual = torch::linalg_pinv(cell[0]), fractions = positions.matmul(dual);
    const auto reach = (cutoff * dual.square().sum(0).sqrt() + fractions.amax(0) - fractions.amin(0)).ceil().to(torch::kLong);
    const int64_t* n = reach.data_ptr<int64_t>();
    std::vector<int64_t> senders, receivers, images;
    const double *r = positions.data_ptr<double>(), *h = cell.data_ptr<double>();
    for (int64_t i = 0; i < atoms; ++i)
        for (int64_t j = 0; j < atoms; ++j)
            for (int64_t a = -n[0]; a <= n[0]; ++a)
                for (int64_t b = -n[1]; b <= n[1]; ++b)
                    for (int64_t c = -n[2]; c <= n[2]; ++c) {
                        double squared = 0.0;
                        for (int k = 0; k < 3; ++k)
                            squared += std::pow(r[3 * j + k] - r[3 * i + k] + a * h[k] + b * h[3 + k] + c * h[6 + k], 2);
                        if (squared >= cutoff * cutoff || (i == j && !a && !b && !c)) continue;
                        senders.push_back(j), receivers.push_back(i), images.insert(images.end(), {a, b, c});
                    }
    const auto edges = static_cast<int64_t>(senders.size());
    const auto results = model
        .forward({positions, torch::tensor(elements), cell, pbc, torch::zeros({atoms}, torch::kLong),
                  torch::tensor(senders, torch::kLong), torch::tensor(receivers, torch::kLong),
                  torch::tensor(images, torch::kLong).reshape({edges, 3})})
        .toGenericDict();
    std::cout.precision(15);
    std::cout << "energy (eV): " << results.at("energy").toTensor().item<double>() << "\nforces (eV/Angstrom):\n";
    const auto forces = results.at("forces").toTensor().contiguous();
    for (int64_t i = 0; i < atoms; ++i)
        for (int k = 0; k < 3; ++k) std::cout << forces.data_ptr<double>()[3 * i + k] << (k < 2 ? ' ' : '\n');
    return 0;
} catch (const std::exception& error) {
    const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
    std::string text = of_torch ? of_torch->what_without_backtrace() : error.what();
    if (text.find("Unknown builtin op: equinet::") != std::string::npos)
        text = "the model calls libequinet_ops; name libequinet_ops.so as third argument";
    if (text.find("PytorchStreamReader") != std::string::npos)
        text = std::string(argv[1]) + " was not written by equinet export --to torchscript, or is damaged";
    const auto words = text.rfind("Error: ");  // of a script, its own words come last
    if (words != std::string::npos) text = text.substr(words + 7);
    std::cerr << "error: " << text.substr(0, text.find('\n')) << '\n';
    return 1;
}
