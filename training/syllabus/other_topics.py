"""Sentences on other topics: nano should say that it did not understand them. A new one goes at the end, because the
place in the list decides whether it is held out."""

SENTENCES = """
the committee decided to raise the interest rate again
i parked the truck behind the supermarket
how do i reset the password of my account
the professor explained the theory of gravity
she inherited a castle from her great uncle
what is the exchange rate of the dollar
my landlord wants to renovate the roof
the orchestra rehearsed until midnight
please forward the invoice to the accountant
who won the championship in nineteen ninety
the ambassador refused to comment on the rumour
translate this paragraph into portuguese
there was heavy traffic on the motorway
i would like to book a table for two
how many calories does a hamburger contain
the surgeon washed his hands carefully
what is the meaning of democracy
our flight was delayed by three hours
the mechanic could not find the problem
i think therefore i am
which politician do you support
the detective followed the suspect through the city
could you recommend a decent restaurant nearby
where can i renew my driving licence
the children were building a sandcastle on the beach
the satellite sends signals to the ground station
when did the roman empire fall
the novel was translated into forty languages
my brother works as a plumber in chicago
why is the internet connection so unreliable
the jury found him not guilty
remember to water the tomatoes before you leave
we discussed the budget for the next quarter
the archaeologists uncovered an ancient temple
how does a nuclear reactor work
the bakery around the corner closes early
she plays chess against the computer every evening
the volcano erupted without any warning
what is the best way to learn algebra
they signed the treaty in geneva
is there a pharmacy open on weekends
he lost his wallet on the underground
the exhibition attracted thousands of visitors
i have been vegetarian since university
the senator gave a long speech about taxes
could you calculate the square root of ninety
what is the population of brazil
the storm damaged several houses along the coast
our neighbours are moving to australia
he apologised for the misunderstanding
who composed the ninth symphony
please schedule a meeting with the director
the dentist told me to floss more often
the bridge was designed by a famous architect
tell me about the theory of relativity
the price of petrol keeps going up
i forgot to charge the battery
the witness could not identify the thief
what are the symptoms of influenza
she graduated with honours last summer
the baby slept through the whole concert
could you lend me twenty dollars until friday
our boss cancelled the holiday party
the recipe calls for two cloves of garlic
i broke my leg while skiing in the alps
which university has the best law school
the police arrested three people last night
my uncle collects rare stamps from hungary
how long does it take to boil an egg
the elevator is stuck between two floors
we should replace the carpet in the hallway
she whispered a secret into his ear
the company lost a million dollars this year
is it legal to park on this side
the soldiers marched across the frozen river
i need a new battery for my watch
please cancel my subscription to the magazine
the hikers got lost in the mountains
who directed the movie we saw yesterday
the lawyer asked for more evidence
my grandmother knitted this scarf for me
they painted the fence a horrible shade
what is the chemical formula of table salt
the ferry leaves from the northern harbour
i dreamt about a city made of glass
he broke the world record in the marathon
can you explain how mortgages work
the curtains do not match the wallpaper
the plumber will arrive between nine and noon
there is a spelling error in this contract
our team scored in the final minute
why do onions make people cry
the museum is closed on public holidays
i accidentally deleted all my photographs
the queen visited the hospital in march
how much does a kilogram of beef cost
the wind knocked over the garden chairs
she speaks with a strong scottish accent
where do i connect the printer cable
the election results surprised everybody
he sold his motorcycle to a stranger
what vitamins are found in spinach
the plane landed safely despite the fog
my sister is studying medicine in vienna
could you proofread my essay tonight
the old lighthouse needs a new roof
they adopted a puppy from the shelter
which planet has the most moons
the kettle is boiling on the stove
i am allergic to peanuts and shellfish
the author signed copies of her novel
how do i get to the railway station
the thief escaped through the back window
we ran out of paint for the ceiling
the river flooded the entire valley
what causes an eclipse of the moon
my neighbour plays the trumpet at midnight
the shop refunded me without a receipt
he has worked at the bank for ten years
the bride wore a dress made of silk
who invented the steam engine
please remind me to call the electrician
the factory produces four hundred cars a week
we watched the fireworks from the balcony
is there life on other planets
the teacher confiscated his mobile phone
i would rather stay in a small hotel
the ship sank off the coast of norway
can dogs be trained to detect cancer
her latest album sold millions of copies
the judge dismissed the case immediately
how many bones are in the human body
the lawn needs mowing before the weekend
they argued about politics during dinner
what is the difference between weather and climate
a mosquito bit me on the ankle
the archive contains letters from the king
i finished the marathon in four hours
the pharmacist could not read the prescription
where was the declaration of independence signed
my bicycle has a flat tyre again
the chef seasoned the steak with pepper
our guide spoke seven languages fluently
the bus driver refused to open the doors
how do birds find their way south
the newspaper published a long correction
she won a scholarship to study abroad
the cave is covered with ancient drawings
turn left at the second traffic light
what is the tallest building in the world
the insurance company rejected our claim
he proposed to her on top of the tower
the cinema is showing an old western
we need seventeen volunteers for saturday
why is the sky dark in space
the hospital hired twelve new nurses
i misplaced the receipt for my shoes
the scientists measured the depth of the lake
could you recommend a good dentist
the roads are icy this morning
they postponed the launch of the rocket
which bank offers the lowest interest
the monks live in complete silence
my suitcase never arrived in lisbon
the wine tastes of cherries and smoke
who was the first person on the moon
the drought destroyed most of the harvest
i have an appointment at the embassy
the mayor promised to build more schools
how is paper recycled
the statue in the square is made of bronze
the audience applauded for ten minutes
we are renting a cottage by the lake
what does the red button on the remote do
the cable car carries thirty passengers
she deleted the email by mistake
the investigation lasted for two years
do you accept credit cards or only cash
the clown scared the smallest children
he bought shares in an airline
where is the nearest petrol station
the magician pulled a coin from my ear
the soup was too spicy for my taste
our flight attendant spilled the lemonade
what time does the pharmacy close
the astronauts repaired the broken telescope
i am looking for a gift for my nephew
the village has only one narrow street
they are investing in renewable energy
can you convert miles into kilometres
the goalkeeper was injured before the match
my passport expires in november
the furniture was delivered to the wrong address
who painted the ceiling of the chapel
the company is looking for a new director
the snowstorm closed every road to the north
how often should i water a cactus
she has been practising the violin for weeks
the prisoners dug a tunnel under the wall
what is the boiling point of alcohol
the receptionist gave us the wrong key
we invited sixty guests to the wedding
the parrot repeated every rude word
is the swimming pool open to visitors
he forgot the words of the national anthem
the bakery sells fresh rolls from six o'clock
which medicine helps against a headache
the treasure was hidden beneath the floorboards
my laptop shuts down without a warning
the author of this poem is unknown
they crossed the desert on camels
how do i remove a stain from the sofa
the minister resigned after the scandal
the spaceship orbits the planet every ninety minutes
i always take the stairs instead of the lift
the orchestra needs a second trumpet player
where can i exchange foreign currency
the gardener trimmed the hedge yesterday
who wrote the book on your desk
the temperature dropped below zero overnight
she painted her bedroom a pale shade of violet
the train to manchester is delayed
what are the rules of cricket
the butcher ran out of sausages
we celebrated our anniversary in paris
the patient recovered surprisingly quickly
how does a microwave heat food
the spy hid the film inside a hollow tooth
my cousin opened a restaurant in berlin
the boxer retired at the age of forty
can i pay for the parking with my phone
the tailor shortened the sleeves of my jacket
the island was discovered by portuguese sailors
why do leaves change their colour in october
the vase fell off the shelf and shattered
they translated the manual into swedish
which vaccine do i need for india
the editor rejected my third manuscript
the lake froze so hard that we could skate
i lost an earring on the dance floor
the pilot announced a short delay
how many players are on a rugby team
the attic is full of old newspapers
he swore that he had never met her
the bridge collapsed during the earthquake
what is the currency of switzerland
the choir sang in front of the cathedral
we are expecting visitors from abroad
the refrigerator makes a strange rattling noise
who is the prime minister of canada
the carpenter built a staircase out of oak
my alarm did not ring this morning
the tourists photographed the royal guard
do snakes shed their skin every year
the deadline for the application was yesterday
she borrowed a ladder from the fire station
the potatoes were planted in early april
how fast does light travel
the waiter brought us the wrong bill
a lorry overturned on the motorway
i am reading a biography of a french general
the children decorated the classroom for christmas
where are the emergency exits
the coach shouted at the referee
the painting was stolen from a private collection
could you connect me with customer service
the bees disappeared after the farmer sprayed the field
what happens when water freezes
the singer cancelled her european tour
our landlord raised the rent twice this year
the compass points to the north
he whistled while repairing the gate
the fog lifted shortly before noon
which actor played the villain
the mushrooms in this forest are poisonous
they discussed the peace treaty behind closed doors
my knee hurts when i climb stairs
the dictionary contains fifty thousand entries
how do i apply for a visa
the wedding cake collapsed in the heat
the candidate answered every question calmly
i cannot find the remote control
the horse jumped over the highest fence
what is the recipe for pancakes
the courier left the parcel with a neighbour
the fire brigade arrived within minutes
she named her boat after a goddess
the castle is haunted according to legend
can you solve this equation for me
the ticket inspector did not believe us
our basement flooded during the thunderstorm
the philosopher wrote about justice and freedom
who discovered penicillin
the orchard produces three kinds of pears
the dolphin rescued a drowning sailor
we have to rewrite the second chapter
the headlights of the car are broken
how long is the river nile
the barber cut my hair too short
i prefer the aisle seat on long flights
the referee showed him a yellow card
the council wants to close our library
where did you park the caravan
the hotel offers breakfast until eleven
the gloves were a present from my aunt
she negotiated a better salary
the guards changed every four hours
what instruments are in a string quartet
""".strip().splitlines()
