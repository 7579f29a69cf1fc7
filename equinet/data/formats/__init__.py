"""Formats of files, each as an iterator over its structures; one module reads one format."""

from equinet.data.formats.detection import Format as Format
from equinet.data.formats.detection import detect_format as detect_format
from equinet.data.formats.options import FormatOptions as FormatOptions
