"""stillhouse distils large reasoning models into small ones, again and again.

What lives here is *what* is computed: recipes, traces, filters, training, evaluation, the gate. It knows
neither Kubernetes nor (outside ``launch``) the KFP SDK. Start reading at ``recipe`` (what a user can say),
then ``stage`` (how any stage runs), then the package of the stage you care about.
"""

__version__ = "0.1.0"
