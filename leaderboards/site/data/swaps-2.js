sabench.give("data/swaps-2", ["00", "10", "01", "11"]);
