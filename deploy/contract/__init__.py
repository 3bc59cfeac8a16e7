"""How to call a service: signatures, examples, programs, OpenAPI, the form to try it.

In: the signatures of a model version. Out: documents, programs and parsed predictions.
Imports: the core of deploy; never traffic.
"""
