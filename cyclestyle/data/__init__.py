"""Two folders of pictures that share no pairs, and what is made of them: checked files, samples, batches, drawn sets."""
