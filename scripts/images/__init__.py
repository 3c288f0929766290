"""How the images are built, and how `make test-images` proves that they run.

Inside the Dockerfile's builder stages: `install`, `install-vllm`, `compile`, `requirements`, `strip`, `sbom` (the
Python ones need the standard library only). On the machine that tests: `host` (what this machine's pip needs, passed
at build time), `store` (buildah), `sandbox` (one process in one image, cut off), `walk` (the compiled pipeline, each
task in its image), `checks` (what must hold in every image), `sizes` (the measured table). `pins` writes the list of
packages that vLLM runs with.

None of this is part of the library, and no image contains it.
"""
