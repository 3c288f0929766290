"""Causal language models: the only package that loads weights.

Lives here: ``requests`` (what is asked of a model and what it says, torch-free), ``loading`` (a reference to a
folder, a folder to a model), ``chat`` (messages to token ids and a loss mask), ``sampling`` (logits to tokens),
``generate`` (batched decoding), ``score`` (log-likelihoods). Does not live here: who teaches whom, prompts'
wording, training. Importing the package itself loads nothing; import the module you need.

To support another kind of address (``s3://``, ``oci://``): a branch in ``loading.model_folder`` that ends in a
local folder, and a row in ``tests/unit/models/test_loading.py``. Other architectures need nothing: whatever
``AutoModelForCausalLM`` loads with a key-value cache works.
"""
