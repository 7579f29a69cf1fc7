"""SevenNet's checkpoints (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)) as NequIP potentials.

SevenNet is NequIP with XPLOR or polynomial envelopes, features of SO(3), and one self-connection for all species. What
it does otherwise is folded into the weights, exactly: e3nn's factors of activations and of linear maps, what modals add
to linear maps (biases and reference energies then), the two linear maps of its readout (one then), the order of paths,
and signs of coupling constants that e3nn has changed since.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.interop.checkpoint_source import Checkpoint, find_in_wheel, read_checkpoint
from equinet.models import NequIP, NequIPArchitecture, Potential, one_modal
from equinet.nn import EquivariantLinear, Interaction
from equinet.nn.activation import second_moment
from equinet_kernels import ConvSpec, Layout, clebsch_gordan

PACKAGE, VERSION = "sevenn", "0.13.0"
"""What ships the checkpoints."""

SHIPPED = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
"""Names of the potentials in its wheel."""

CITATION = "Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190"
CITATION_MODALS = "Kim et al., J. Am. Chem. Soc. 147, 1042 (2025), doi:10.1021/jacs.4c14455"

_LINEAR_PARTS = ("linear.bias", "linear.output_mask")
_W3J = "convolution._compiled_main_left_right._w3j_"
_CONVOLUTION_PARTS = ("convolution.weight", "convolution.output_mask", "denominator")


def import_sevennet(checkpoint: str, modal: str | None = None) -> Potential:
    """Read a SevenNet checkpoint.

    Args:
        checkpoint: a file, or one of :data:`SHIPPED`.
        modal: which of the levels of theory that a multi-fidelity potential knows; None: all of them.

    Returns:
        The potential in float32, in eval mode, with licence and citation in its provenance.

    Raises:
        InputError: no such file, damaged, another architecture; no such modal.
    """
    if Path(checkpoint).is_file():
        read = read_checkpoint(Path(checkpoint).read_bytes(), checkpoint)
    elif checkpoint.lower() in SHIPPED:
        data, source = find_in_wheel(PACKAGE, VERSION, f"pretrained_potentials/{SHIPPED[checkpoint.lower()]}")
        read = read_checkpoint(data, source)
    else:
        raise InputError(f"{checkpoint}: no such file, and not one of {', '.join(SHIPPED)}")
    try:
        potential = _Importer(read).potential()
        return potential if modal is None else one_modal(potential, modal)
    except InputError as error:
        raise InputError(f"{read.source}: {error}") from None


def shipped_name(potential: Potential) -> str | None:
    """The name under which SevenNet ships the potential that this one was imported from; None if there is none."""
    source = str(potential.provenance.get("file", ""))
    names = [name for name, file in SHIPPED.items() if source.endswith(file)]
    return names[0] if names else None


class _Importer:
    """One checkpoint: settings, then tensors, each taken by its name once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        content = checkpoint.content
        config, tensors = content.get("config"), content.get("model_state_dict")
        if not isinstance(config, dict) or not isinstance(tensors, dict) or "_type_map" not in config:
            raise InputError("it is no SevenNet checkpoint: it has no config with a model_state_dict")
        self.checkpoint = checkpoint
        self.config = config
        self.tensors: dict[str, Tensor] = dict(tensors)
        modals: dict[str, int] = config.get("_modal_map") or {} if config.get("use_modality") else {}
        self.modals = sorted(modals, key=modals.__getitem__)
        if [modals[name] for name in self.modals] != list(range(len(modals))):
            raise InputError(f"its modals are numbered {modals}, not 0, 1, ...; it is damaged")
        # order of the network's species: ours is by atomic number
        self.type_of_number = {int(z): int(index) for z, index in config["_type_map"].items()}
        self.species = sorted(self.type_of_number)
        self.types = [self.type_of_number[z] for z in self.species]
        self.activation_ratio = _e3nn_silu_factor() * second_moment("silu") ** 0.5

    def potential(self) -> Potential:
        """Read everything."""
        architecture = self._architecture()
        scale, reference = self._take_scale_and_shift()
        with torch.random.fork_rng(devices=[]):  # the random weights drawn here are overwritten
            potential = Potential(
                architecture,
                species=self.species,
                isolated_energies=reference.tolist(),
                scale=scale.tolist(),
                subtract_isolated=False,
                provenance=self._provenance(),
            )
        model = potential.model
        assert isinstance(model, NequIP)
        with torch.no_grad():
            frequencies = self._take("edge_embedding.basis_function.coeffs", (architecture.num_bessel,))
            model.basis.frequencies.copy_(frequencies * architecture.cutoff)
            self._fill_embedding(model)
            for number, layer in enumerate(model.layers):
                assert isinstance(layer, Interaction)
                self._fill_layer(number, layer, ConvSpec.parse(layer.conv.spec_string))
            potential.reference_energies.copy_(reference + scale * self._fill_readout(model))
        left = [name for name in self.tensors if _W3J not in name]
        if left:
            raise InputError(f"it has tensors of another architecture: {', '.join(left[:3])}")
        return potential.eval()

    def _architecture(self) -> NequIPArchitecture:
        """Hyper-parameters, where they are those of a NequIP of ours."""
        config = self.config

        def require(key: str, wanted: Any, default: Any) -> None:
            value = config.get(key, default)
            if value != wanted:
                raise InputError(f"its {key} is {value!r}; only {wanted!r} can be imported")

        require("_model_type", "E3_equivariant_model", None)
        require("interaction_type", "nequip", "nequip")
        require("is_parity", False, False)
        require("act_radial", "silu", "silu")
        require("use_bias_in_linear", False, False)
        require("readout_as_fcn", False, False)
        require("_normalize_sph", True, False)
        require("lmax_edge", -1, -1)
        require("lmax_node", -1, -1)
        for key in ("act_scalar", "act_gate"):
            if config.get(key, {}).get("e") != "silu":
                raise InputError(f"its {key} is {config.get(key)!r}; only silu for even scalars can be imported")
        basis, envelope = config["radial_basis"], config["cutoff_function"]
        if basis.get("radial_basis_name") != "bessel":
            raise InputError(f"its radial basis is {basis.get('radial_basis_name')!r}; only 'bessel' can be imported")
        envelopes = {"XPLOR": "xplor", "poly_cut": "polynomial"}
        name = envelope.get("cutoff_function_name")
        if name not in envelopes:
            raise InputError(f"its cutoff function is {name!r}; {' and '.join(envelopes)} can be imported")
        layers = int(config["num_convolution_layer"])
        l_max = int(config["lmax"])
        connections = config.get("self_connection_type", "nequip")
        kinds = set([connections] if isinstance(connections, str) else connections)
        if len(kinds) != 1 or not kinds <= {"linear", "nequip", "none"}:
            raise InputError(f"its self-connections are {connections!r}; only one kind for all layers can be imported")
        denominators = [self._take(f"{layer}_convolution.denominator", (1,)).item() for layer in range(layers)]
        means = [float(value) ** 2 for value in denominators]
        return NequIPArchitecture(
            cutoff=float(config["cutoff"]),
            layers=layers,
            l_max=l_max,
            channels=self._channels(layers, l_max),
            parity="none",
            num_bessel=int(basis.get("bessel_basis_num", 8)),
            bessel_trainable=True,
            envelope="xplor" if name == "XPLOR" else "polynomial",
            envelope_power=int(envelope.get("poly_cut_p_value", 6)),
            xplor_onset=float(envelope["cutoff_on"]) if name == "XPLOR" else None,
            radial_hidden=[int(width) for width in config["weight_nn_hidden_neurons"]],
            self_connection=kinds != {"none"},
            species_self_connection=kinds == {"nequip"},
            modals=self.modals,
            mean_neighbors=means[0] if len(set(means)) == 1 else means,
        )

    def _channels(self, layers: int, l_max: int) -> list[int]:
        """Channels of each degree; the same in every layer, but for the first and the last, which are scalars."""
        listed = self.config.get("irreps_manual")
        if not listed:
            return [int(self.config["channel"])] * (l_max + 1)
        middle = Layout.parse(listed[1])
        channels = [block.channels for block in middle]
        scalars = f"{channels[0]}x0e"
        if [block.l for block in middle] != list(range(l_max + 1)) or [str(one) for one in listed] != [
            scalars,
            *[str(middle)] * (layers - 1),
            scalars,
        ]:
            raise InputError(f"its features are {listed}; only the same in all layers between scalars can be imported")
        return channels

    def _provenance(self) -> dict[str, Any]:
        return {
            "imported_from": "SevenNet",
            "file": self.checkpoint.source,
            "sha256": self.checkpoint.sha256,
            "sevennet_version": str(self.config.get("version")),
            "licence": "MIT, (c) Yutack Park and the SevenNet developers",
            "citation": CITATION + (f"; {CITATION_MODALS}" if self.modals else ""),
        }

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One tensor in float64, removed from what is left."""
        tensor = self.tensors.pop(name, None)
        if tensor is None:
            raise InputError(f"it has no tensor {name}; it is damaged, or of another version of SevenNet")
        if tuple(tensor.shape) != shape:
            raise InputError(f"its {name} is {list(tensor.shape)}, where its config asks for {list(shape)}")
        return tensor.to(torch.float64)

    def _drop(self, layer: str, parts: tuple[str, ...]) -> None:
        """What e3nn keeps beside its weights."""
        for part in parts:
            self.tensors.pop(f"{layer}.{part}", None)

    def _take_scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each species, [S] eV, or [modals, S]."""
        values = []
        for key in ("scale", "shift"):
            modal_wise = bool(self.modals) and bool(self.config.get(f"use_modal_wise_{key}"))
            species_wise = self.config.get("use_species_wise_shift_scale", True)
            tail = (len(self.species),) if species_wise or self.modals else (1,)
            tensor = self._take(f"rescale_atomic_energy.{key}", (len(self.modals), *tail) if modal_wise else tail)
            shape = (*([len(self.modals)] if self.modals else []), len(self.species))
            values.append(tensor.expand(shape)[..., self.types])
        return values[0], values[1]

    def _take_linear(
        self, name: str, layout_in: Layout, layout_out: Layout, modal: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """Weights of a linear map of e3nn, as ours divides them: one [C in, C out] for each block of the output that
        the input has; and the biases that modals make of their own, [modals, C]."""
        modals = len(self.modals) if modal else 0
        pairs = [(i, o) for i in layout_in for o in layout_out if i[1:] == o[1:]]
        scalars = next((block.channels for block in layout_out if block[1:] == (0, 1)), 0)
        size = sum(i.channels * o.channels for i, o in pairs) + modals * scalars
        flat = self._take(f"{name}.linear.weight", (size,))
        self._drop(name, _LINEAR_PARTS)
        weights = []
        for block_in, block_out in pairs:
            weight, flat = flat.tensor_split([block_in.channels * block_out.channels])
            fan_in = block_in.channels + (modals if block_in[1:] == (0, 1) else 0)
            weights.append(weight.view(block_in.channels, block_out.channels) * (block_in.channels / fan_in) ** 0.5)
        if not modals:
            return weights, None
        fan_in = next(block.channels for block in layout_in if block[1:] == (0, 1)) + modals
        return weights, flat.view(modals, scalars) * fan_in**-0.5

    def _fill_linear(
        self, name: str, linear: EquivariantLinear, layout_in: Layout, layout_out: Layout, modal: bool, scale: float
    ) -> None:
        weights, biases = self._take_linear(name, layout_in, layout_out, modal)
        for parameter, weight in zip((w for w in linear.weights if w.numel()), weights, strict=True):
            parameter.copy_(weight * scale)
        if biases is not None:
            assert linear.modal_bias is not None
            linear.modal_bias.copy_(biases)

    def _fill_embedding(self, model: NequIP) -> None:
        modals = len(self.modals) if self.config.get("use_modal_node_embedding") else 0
        rows, channels = len(self.species) + modals, model.embedding.shape[1]
        table = self._take("onehot_to_feature_x.linear.weight", (rows * channels,)).view(rows, channels)
        self._drop("onehot_to_feature_x", _LINEAR_PARTS)
        model.embedding.copy_(table[self.types] * rows**-0.5)
        if modals:
            assert model.modal_embedding is not None
            model.modal_embedding.copy_(table[len(self.species) :] * rows**-0.5)

    def _fill_layer(self, number: int, layer: Interaction, spec: ConvSpec) -> None:
        """One round; from the second on its input is the output of a gate, and e3nn's silu is a factor larger."""
        config, scale = self.config, self.activation_ratio if number else 1.0
        gate_in = layer.gate.layout_in
        before, after = bool(config.get("use_modal_self_inter_intro")), bool(config.get("use_modal_self_inter_outro"))
        self._fill_linear(f"{number}_self_interaction_1", layer.linear_in, spec.x, spec.x, before, scale)
        self._fill_linear(f"{number}_self_interaction_2", layer.linear_out, spec.out, gate_in, after, 1.0)
        self._drop(f"{number}_equivariant_gate", ("gate.mul.weight", "gate.mul.output_mask"))
        self._fill_radial(number, layer, spec)
        name = f"{number}_self_connection_intro"
        if layer.shared_connection is not None:
            self._fill_linear(name, layer.shared_connection, spec.x, gate_in, False, scale)
        elif layer.self_connection is not None:
            self._fill_species_connection(name, layer, spec.x, gate_in, scale)

    def _fill_species_connection(
        self, name: str, layer: Interaction, layout_in: Layout, layout_out: Layout, scale: float
    ) -> None:
        """e3nn's product of features with the species as scalars: [C in, S, C out] for each shared block."""
        assert layer.self_connection is not None
        pairs = [(i, o) for i in layout_in for o in layout_out if i[1:] == o[1:]]
        species = len(self.species)
        size = sum(i.channels * species * o.channels for i, o in pairs)
        flat = self._take(f"{name}.fc_tensor_product.weight", (size,))
        self._drop(name, ("fc_tensor_product.output_mask",))
        parameters = [weight for weight in layer.self_connection.weights if weight.numel()]
        for parameter, (block_in, block_out) in zip(parameters, pairs, strict=True):
            weight, flat = flat.tensor_split([block_in.channels * species * block_out.channels])
            weight = weight.view(block_in.channels, species, block_out.channels).transpose(0, 1)[self.types]
            parameter.copy_(weight * (scale * species**-0.5))

    def _fill_radial(self, number: int, layer: Interaction, spec: ConvSpec) -> None:
        name = f"{number}_convolution"
        weights = list(layer.radial.weights)
        for index, parameter in enumerate(weights):
            weight = self._take(f"{name}.weight_nn.layer{index}.weight", tuple(parameter.shape))
            if index == len(weights) - 1:
                weight = self._paths_in_our_order(name, weight, spec)
            parameter.copy_(weight * (self.activation_ratio if index else 1.0))
        self._drop(name, _CONVOLUTION_PARTS)

    def _paths_in_our_order(self, name: str, weight: Tensor, spec: ConvSpec) -> Tensor:
        """Columns of the last radial weight, path by path, with the signs of our coupling constants."""
        paths = list(spec.paths)
        if _version(self.config) >= (0, 11):  # since then ordered by the degree of the result
            paths.sort(key=lambda path: path.l3)
        columns = dict(zip(paths, weight.split([spec.x[path.i].channels for path in paths], dim=1), strict=True))
        ordered = []
        for path in spec.paths:
            l1 = spec.x[path.i].l
            w3j = self.tensors.get(f"{name}.{_W3J}{l1}_{path.l2}_{path.l3}")
            sign = 1.0
            if w3j is not None:
                sign = float((w3j.to(torch.float64) * clebsch_gordan(l1, path.l2, path.l3)).sum())
                if abs(abs(sign) - 1.0) > 1e-4:
                    raise InputError(f"its coupling constants {l1} x {path.l2} -> {path.l3} are not those of e3nn")
            ordered.append(columns[path] * round(sign))
        return torch.cat(ordered, dim=1)

    def _fill_readout(self, model: NequIP) -> Tensor:
        """Two linear maps as one; returns what modals add to an energy, [modals, 1] or [1], in units of the scale."""
        width = model.embedding.shape[1]
        features, hidden, energy = (Layout.parse(f"{size}x0e") for size in (width, width // 2, 1))
        modal = bool(self.config.get("use_modal_output_block"))
        first, biases = self._take_linear("reduce_input_to_hidden", features, hidden, modal)
        second, _ = self._take_linear("reduce_hidden_to_energy", hidden, energy, False)
        second_weight = second[0] * (width // 2) ** -0.5
        model.last.weights[0].copy_(first[0] @ second_weight * self.activation_ratio)
        return torch.zeros(1, dtype=torch.float64) if biases is None else biases @ second_weight


def _version(config: dict[str, Any]) -> tuple[int, ...]:
    """(major, minor) of the SevenNet that wrote the checkpoint."""
    parts = str(config.get("version", "")).split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        raise InputError(f"its version is {config.get('version')!r}; it must be that of a SevenNet")
    if parts[:3] == ["0", "11", "0"] and parts[3:] == ["dev0"]:
        return (0, 10)  # which still had the old order
    return int(parts[0]), int(parts[1])


def _e3nn_silu_factor() -> float:
    """By which e3nn multiplies silu: it estimates the second moment from a million fixed random numbers."""
    from e3nn.math import normalize2mom

    return float(normalize2mom(torch.nn.functional.silu).cst)
