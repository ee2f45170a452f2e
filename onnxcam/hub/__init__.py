"""Models by name: ``hf://org/name``, downloaded from Hugging Face's hub into its cache when they are used.

`local` is the one door: whatever takes the path of a model takes an address too. docs/hub.md.
"""

from onnxcam.hub.address import HubAddress
from onnxcam.hub.download import folder_of, local, models_of, name_of, notes_of

__all__ = ["HubAddress", "folder_of", "local", "models_of", "name_of", "notes_of"]
