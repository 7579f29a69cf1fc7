"""Structures as graphs: one immutable type, neighbour search, periodic images."""

from equinet.graph.atomic_graph import AtomicGraph as AtomicGraph
from equinet.graph.atomic_graph import atoms_per_graph as atoms_per_graph
from equinet.graph.atomic_graph import collate as collate
from equinet.graph.atomic_graph import move as move
from equinet.graph.atomic_graph import num_graphs as num_graphs
from equinet.graph.atomic_graph import split as split
from equinet.graph.atomic_graph import volumes as volumes
from equinet.graph.distances import NearestPair as NearestPair
from equinet.graph.distances import nearest_pair as nearest_pair
from equinet.graph.neighbors import Neighbors as Neighbors
from equinet.graph.neighbors import build_graph as build_graph
from equinet.graph.neighbors import count_neighbors as count_neighbors
from equinet.graph.neighbors import pair_distances as pair_distances
from equinet.graph.verlet import VerletList as VerletList
from equinet.graph.verlet_batch import VerletBatch as VerletBatch
