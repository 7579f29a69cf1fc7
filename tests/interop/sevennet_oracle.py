"""SevenNet's network written with e3nn's own modules, as an oracle for the importer: names and options as in its
checkpoints."""

from typing import Any

import torch
from e3nn import o3
from e3nn.nn import FullyConnectedNet, Gate
from torch import Tensor, nn

SPECIES = (14, 8, 1)  # SevenNet's own order of elements; not ascending
L_MAX = 2
FEATURES = "8x0e+4x1e+2x2e"
CUTOFF, ONSET, BESSEL = 4.0, 3.0, 5
LAYERS = 3


class Named(nn.Module):
    """A module under the name that SevenNet gives it."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class SevenNetOracle(nn.ModuleDict):
    """Energies of atoms, by e3nn.

    Args:
        connection: "linear" or "nequip".
        modals: how many; their one-hot vector is appended to what three of the linear maps read.
        sorted_paths: whether paths are ordered by their result, as since version 0.11.
    """

    def __init__(self, connection: str, modals: int, sorted_paths: bool) -> None:
        super().__init__()
        self.modals = modals
        one_hot, extra = f"{len(SPECIES)}x0e", f"+{modals}x0e" if modals else ""
        self.basis = nn.Parameter(torch.arange(1, BESSEL + 1) * torch.pi / CUTOFF + 0.02 * torch.randn(BESSEL))
        self["onehot_to_feature_x"] = Named(linear=o3.Linear(one_hot, "8x0e"))
        x = o3.Irreps("8x0e")
        y = o3.Irreps([(1, (l, 1)) for l in range(L_MAX + 1)])
        self.gates = []
        for layer in range(LAYERS):
            out = o3.Irreps(FEATURES if layer < LAYERS - 1 else "8x0e")
            scalars, gated = out[:1], out[1:]
            silu = torch.nn.functional.silu
            gates = o3.Irreps([(mul, (0, 1)) for mul, _ in gated])
            gate = Gate(scalars, [silu], gates, [silu] * len(gates), gated)
            instructions, middle = [], []
            for i, (mul, ir) in enumerate(x):
                for j, (_, ir_y) in enumerate(y):
                    for target in ir * ir_y:
                        if target in out:
                            instructions.append((i, j, len(middle), "uvu", True))
                            middle.append((mul, target))
            sorted_middle, permutation, _ = o3.Irreps(middle).sort()
            instructions = [(i, j, permutation[k], mode, train) for i, j, k, mode, train in instructions]
            if sorted_paths:
                instructions.sort(key=lambda row: row[2])
            product = o3.TensorProduct(x, y, sorted_middle, instructions, shared_weights=False, internal_weights=False)
            weights = FullyConnectedNet([BESSEL, 6, 6, product.weight_numel], silu)
            convolution = Named(convolution=product, weight_nn=weights)
            convolution.denominator = nn.Parameter(torch.tensor([0.6 + 0.1 * layer]))
            merged = sorted_middle.simplify()
            self[f"{layer}_self_interaction_1"] = Named(linear=o3.Linear(o3.Irreps(f"{x}{extra}"), x))
            self[f"{layer}_convolution"] = convolution
            self[f"{layer}_self_interaction_2"] = Named(linear=o3.Linear(o3.Irreps(f"{merged}{extra}"), gate.irreps_in))
            if connection == "linear":
                intro = Named(linear=o3.Linear(x, gate.irreps_in))
            else:
                intro = Named(fc_tensor_product=o3.FullyConnectedTensorProduct(x, one_hot, gate.irreps_in))
            self[f"{layer}_self_connection_intro"] = intro
            self[f"{layer}_equivariant_gate"] = Named(gate=gate)
            x = out
        self["reduce_input_to_hidden"] = Named(linear=o3.Linear(o3.Irreps(f"8x0e{extra}"), "4x0e"))
        self["reduce_hidden_to_energy"] = Named(linear=o3.Linear("4x0e", "1x0e"))
        self.y = y
        shape = (modals, len(SPECIES)) if modals else (len(SPECIES),)
        self["rescale_atomic_energy"] = Named()
        self["rescale_atomic_energy"].shift = nn.Parameter(torch.randn(shape))
        self["rescale_atomic_energy"].scale = nn.Parameter(torch.rand(len(SPECIES)) + 0.5)

    def checkpoint(self, version: str, connection: str) -> dict[str, Any]:
        """As SevenNet would save it."""
        tensors = {name: value.float() for name, value in self.state_dict().items() if name != "basis"}
        config = {
            "version": version,
            "_model_type": "E3_equivariant_model",
            "_type_map": {z: index for index, z in enumerate(SPECIES)},
            "irreps_manual": ["8x0e", *[FEATURES] * (LAYERS - 1), "8x0e"],
            "channel": 8,
            "lmax": L_MAX,
            "is_parity": False,
            "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": BESSEL},
            "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": ONSET},
            "act_radial": "silu",
            "act_scalar": {"e": "silu", "o": "tanh"},
            "act_gate": {"e": "silu", "o": "tanh"},
            "cutoff": CUTOFF,
            "weight_nn_hidden_neurons": [6, 6],
            "num_convolution_layer": LAYERS,
            "self_connection_type": connection,
            "_normalize_sph": True,
            "use_species_wise_shift_scale": True,
        }
        if self.modals:
            names = {f"modal{index}": index for index in range(self.modals)}
            used = ("use_modal_self_inter_intro", "use_modal_self_inter_outro", "use_modal_output_block")
            config |= {"use_modality": True, "_modal_map": names, "use_modal_wise_shift": True}
            config |= dict.fromkeys(used, True)
        return {
            "model_state_dict": {**tensors, "edge_embedding.basis_function.coeffs": self.basis.detach().float()},
            "config": config,
            "epoch": 1,
        }

    def forward(self, vectors: Tensor, species: Tensor, senders: Tensor, receivers: Tensor, modal: int) -> Tensor:
        """Energies [N] of atoms with these species (0.. in SPECIES); vectors [E, 3] from receiver to sender."""
        one_hot = torch.nn.functional.one_hot(species, len(SPECIES)).to(vectors.dtype)
        r = vectors.norm(dim=1)
        fall = (CUTOFF**2 - r**2) ** 2 * (CUTOFF**2 + 2 * r**2 - 3 * ONSET**2) / (CUTOFF**2 - ONSET**2) ** 3
        envelope = torch.where(r < ONSET, torch.ones_like(r), fall)
        basis = 2 / CUTOFF * torch.sin(self.basis * r[:, None]) / r[:, None] * envelope[:, None]
        y = o3.spherical_harmonics(self.y, vectors, normalize=True, normalization="component")
        modals = torch.zeros(len(species), self.modals, dtype=vectors.dtype)
        if self.modals:
            modals[:, modal] = 1.0

        def linear(name: str, x: Tensor, with_modal: bool = True) -> Tensor:
            return self[name].linear(torch.cat([x, modals], dim=1) if with_modal else x)

        x = linear("onehot_to_feature_x", one_hot, False)
        for layer in range(LAYERS):
            intro = self[f"{layer}_self_connection_intro"]
            connection = intro.linear(x) if hasattr(intro, "linear") else intro.fc_tensor_product(x, one_hot)
            x = linear(f"{layer}_self_interaction_1", x)
            convolution = self[f"{layer}_convolution"]
            messages = convolution.convolution(x[senders], y, convolution.weight_nn(basis))
            x = torch.zeros(len(species), messages.shape[1], dtype=x.dtype).index_add(0, receivers, messages)
            x = linear(f"{layer}_self_interaction_2", x / convolution.denominator)
            x = self[f"{layer}_equivariant_gate"].gate(x + connection)
        raw = linear("reduce_hidden_to_energy", linear("reduce_input_to_hidden", x), False).squeeze(1)
        rescale = self["rescale_atomic_energy"]
        shift = rescale.shift[modal] if self.modals else rescale.shift
        return raw * rescale.scale[species] + shift[species]
