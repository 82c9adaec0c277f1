"""Two folders of pictures that share no pairs: checked, sampled, augmented, made into batches, or drawn."""
