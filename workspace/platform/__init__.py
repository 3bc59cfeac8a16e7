"""What every room needs: broker, wake-ups, leases, encryption, errors, responses, environment.

In: nothing of the product. Out: small helpers over Django, Valkey and the standard library.
Imports: Django and libraries; nothing of Trainyard.
"""
