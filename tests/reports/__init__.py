"""What people reported: a test for each report, named after it (A1 to P15).

`product` holds those that train or serve with the whole product, `modelserver` those that ask a
model server: each folder shares its costly fixtures with the tests of that name.
"""
